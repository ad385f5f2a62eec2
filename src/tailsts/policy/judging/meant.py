"""Which tokens the author of a policy means, as far as it says so: values that are named, examples of patterns. Pure.

One is not enough. Where several values are named, or a pattern has branches, what is found must not depend on their
order: so each of them is in some token.
"""

import itertools
from collections.abc import Iterator, Mapping

from tailsts.policy.claims import Path, Scalar
from tailsts.policy.draft import Draft
from tailsts.policy.judging.example import examples

# Of what people write, that is all; each costs as much as the first one.
_MAX_TOKENS = 16

# A subject, and claims.
Token = tuple[str | None, Mapping[Path, Scalar]]


def tokens_of(draft: Draft) -> list[Token]:
    """Return the tokens that are meant, the first of what is said first; never none."""
    subjects = _subjects(draft)
    ways = {**_named(draft), **guesses(draft)}
    found: dict[tuple[object, ...], Token] = {}
    for token in itertools.islice(_tokens(subjects, ways), _MAX_TOKENS):
        # By type as well: 1 and True are not the same claim.
        found[token[0], *((type(value), value) for value in token[1].values())] = token
    return list(found.values())


def guesses(draft: Draft) -> dict[Path, tuple[Scalar, ...]]:
    """Return what the condition compares claims with, where nothing else is said of them."""
    if draft.condition is None:
        return {}
    said = {path for path, _ in (*draft.claims, *draft.claim_patterns)} | {("sub",)}
    found: dict[Path, tuple[Scalar, ...]] = {}
    for path, text in draft.condition.equals:
        if path not in said:
            found[path] = (*found.get(path, ()), text)
    return found


def _tokens(subjects: tuple[str | None, ...], ways: Mapping[Path, tuple[Scalar, ...]]) -> Iterator[Token]:
    """Yield the first of all, then those with one other value, then all second ones together, all third ones."""
    plain = {path: values[0] for path, values in ways.items()}
    yield subjects[0], plain
    for subject in subjects[1:]:
        yield subject, plain
    for path, values in ways.items():
        for value in values[1:]:
            yield subjects[0], {**plain, path: value}
    for at in range(1, max(len(subjects), *map(len, ways.values()), 1)):
        together = {path: values[min(at, len(values) - 1)] for path, values in ways.items()}
        yield subjects[min(at, len(subjects) - 1)], together


def _subjects(draft: Draft) -> tuple[str | None, ...]:
    if draft.subject is not None:
        return (draft.subject,)
    return (None,) if draft.subject_pattern is None else examples(draft.subject_pattern) or (None,)


def _named(draft: Draft) -> dict[Path, tuple[Scalar, ...]]:
    """Return the values that are named for each claim; of those, where the condition says which can be, these."""
    found: dict[Path, tuple[Scalar, ...]] = {}
    implied = (draft.condition and draft.condition.implied) or {}
    for path, pattern in draft.claim_patterns:
        texts = sorted(text for text in implied.get(path, ()) if isinstance(text, str) and pattern.matches(text))
        if some := tuple(texts) or examples(pattern):
            found[path] = some
    for path, values in draft.claims:
        fit = (value for value in values if isinstance(value, str | bool) and value in implied.get(path, ()))
        found[path] = tuple(fit) or values
    return found
