"""Which of a trust's policies a token may come under, found without asking each. Pure.

A policy that names a subject, or the exact value of a claim, is only a candidate for tokens with that very value. It is
filed under the first condition of that kind that it is asked, so that whoever is passed over would have failed just
there: what the index leaves out changes no verdict.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from tailsts.policy.claims import SCALARS, Path, Scalar, exactly, lookup
from tailsts.policy.condition import ClaimIs, Condition, SubjectIs

SUBJECT: Path = ("sub",)

Key = tuple[type, Scalar]


class Index(msgspec.Struct, frozen=True, gc=False):
    """Positions of policies in their order: by the value at each path, and those that are filed nowhere.

    `texts` has, for each path, the values that are texts, sorted.
    """

    by_value: Sequence[tuple[Path, Mapping[Key, Sequence[int]]]]
    others: Sequence[int]
    texts: Sequence[Sequence[str]] = ()

    def positions(self, claims: Mapping[str, object]) -> Sequence[int]:
        """Return the positions of the policies that a token with these claims may come under, in order."""
        found: Sequence[int] = self.others
        several = False
        for path, positions in self.by_value:
            value = lookup(claims, path)
            if type(value) in SCALARS:
                here = positions.get(exactly(value), ())  # type: ignore[arg-type]  # a scalar, as was just seen
                if here:
                    several = bool(found)
                    found = (*found, *here) if several else here
        return sorted(found) if several else found

    def nearest(self, claims: Mapping[str, object], count: int) -> Iterator[int]:
        """Yield positions of policies that were passed over: for each path some `count`, the likest values first.

        It takes no longer where there are more policies. Candidates may be among them, and some twice.
        """
        for (path, positions), texts in zip(self.by_value, self.texts, strict=True):
            keys = _likest(lookup(claims, path), positions, texts)
            yield from islice((position for key in keys for position in positions[key]), count)


def shared_start(one: str, other: str) -> int:
    """Return how many characters two texts have in common from their beginnings on."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _likest(value: object, keys: Iterable[Key], texts: Sequence[str]) -> Iterator[Key]:
    """Yield the keys other than `value` itself: texts that begin most like it, or else all of them."""
    if not isinstance(value, str):
        yield from keys
        return
    # In a sorted list, those that share most with it stand nearest to where it would be.
    above = bisect_left(texts, value)
    below = above - 1
    if above < len(texts) and texts[above] == value:
        above += 1
    while below >= 0 or above < len(texts):
        if above == len(texts) or (
            below >= 0 and shared_start(texts[below], value) >= shared_start(texts[above], value)
        ):
            yield exactly(texts[below])
            below -= 1
        else:
            yield exactly(texts[above])
            above += 1
    yield from (key for key in keys if key[0] is not str)


def index(policies: Sequence[Sequence[Condition]]) -> Index:
    """Return the index of policies, each given as its conditions in order."""
    paths = _by_use(policies)
    files: dict[Path, dict[Key, list[int]]] = {}
    others: list[int] = []
    for position, conditions in enumerate(policies):
        filed = _filed_under(conditions, paths)
        if filed is None:
            others.append(position)
            continue
        path, values = (SUBJECT, (filed.subject,)) if isinstance(filed, SubjectIs) else (filed.path, filed.values)
        for key in {exactly(value) for value in values}:
            files.setdefault(path, {}).setdefault(key, []).append(position)
    texts = [tuple(sorted(value for _, value in filed if isinstance(value, str))) for filed in files.values()]
    return Index(tuple(files.items()), tuple(others), tuple(texts))


def _by_use(policies: Sequence[Sequence[Condition]]) -> Counter[Path]:
    """Count the different values that policies ask of each claim: the more, the better it tells them apart."""
    values = {
        (condition.path, exactly(value))
        for conditions in policies
        for condition in conditions
        if isinstance(condition, ClaimIs)
        for value in condition.values
    }
    return Counter(path for path, _ in values)


def _filed_under(conditions: Sequence[Condition], paths: Counter[Path]) -> SubjectIs | ClaimIs | None:
    first = conditions[0] if conditions else None
    if isinstance(first, SubjectIs):
        return first
    exact = [condition for condition in conditions if isinstance(condition, ClaimIs)]
    return max(exact, key=lambda condition: paths[condition.path]) if exact else None
