"""Tokens that a policy's author did not mean, made up to see whether the policy would take them. Pure.

The policy's own conditions answer, as they would for a real token. So what is found is always shown by an example;
where no example is found, nothing is said.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from tailsts.oidc.rejected import Rejected
from tailsts.oidc.source import Discovery
from tailsts.oidc.verify import assume_signed
from tailsts.policy.build import build
from tailsts.policy.claims import Path, Scalar
from tailsts.policy.condition import Check, ClaimIs, ClaimMatches, Condition, Facts
from tailsts.policy.draft import Draft
from tailsts.policy.judging.example import example
from tailsts.policy.judging.known import provider_of
from tailsts.policy.judging.providers import STRANGE_NAME, Provider, nested

_WHO = frozenset({Check.SUBJECT, Check.CLAIM, Check.CONDITION})
# For a policy that says nothing of its own time: 2027.
_SOME_TIME = 1_800_000_000.0
# For one that names none: which it is makes no difference to what it asks.
_SOME_ISSUER = "https://issuer.example"
# What a condition may look at without a provider that is known to have it.
_OF_EXPRESSIONS: tuple[Path, ...] = (("email_verified",),)
_NOTHING: frozenset[Path] = frozenset()
_AS_IS: Mapping[Path, Scalar] = {}
_AS_THEY_ARE: Mapping[str, str] = {}


class Asked(msgspec.Struct, frozen=True):
    """What a policy asks of the one who comes: its conditions, and one token that it means, as far as that can be told.

    `values` are claims of that token, and `parts` parts of its subject. `looked_at` are the claims that make a
    difference, as the subject does if the policy `reads_subject`. Those of `guessed` may be the opposite of what is
    meant: the condition compares with them, perhaps below a "not".
    """

    draft: Draft
    conditions: tuple[Condition, ...]
    provider: Provider | None
    values: Mapping[Path, Scalar]
    parts: Mapping[str, str]
    looked_at: tuple[Path, ...]
    reads_subject: bool
    guessed: frozenset[Path] = _NOTHING

    def takes(self, claims: Mapping[str, object]) -> bool:
        """Return whether all that is asked about who comes holds for a token with these claims."""
        draft = self.draft
        now = draft.not_before if draft.not_before is not None else _SOME_TIME
        issuer = draft.issuer or _SOME_ISSUER
        made = {
            "iss": issuer,
            "sub": STRANGE_NAME,
            "aud": sorted(draft.audiences),
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        token = assume_signed(made, "RS256", now)
        if isinstance(token, Rejected):
            return False
        facts = Facts(token, tuple(sorted(draft.allowed_scopes)), tuple(sorted(draft.allowed_tags)), now)
        return all(condition.holds(facts) for condition in self.conditions)

    def takes_stranger(
        self, *, weak: bool = False, changes: Mapping[Path, Scalar] = _AS_IS, parts: Mapping[str, str] = _AS_THEY_ARE
    ) -> bool:
        """Return whether somebody passes who shares with those who are meant only what anybody can choose.

        With `weak`, also what strangers can share. The stranger's own token has the `changes`, and such `parts`.
        """
        provider = self.provider
        if provider is None:
            return False

        def kept(path: Path) -> bool:
            return provider.is_choosable(path) or (weak and path in provider.weak)

        chosen = {name: text for name, text in self.parts.items() if name in provider.chosen_parts}
        return self._takes_any(kept, {**chosen, **parts}, changes, _NOTHING, "")

    def takes_namesake(self) -> bool:
        """Return whether somebody passes who has the same names as those who are meant, and other ids."""
        provider = self.provider
        if provider is None:
            return False
        parts = {name: text for name, text in self.parts.items() if name in provider.chosen_parts}
        return self._takes_any(lambda path: path not in provider.ids, parts, {}, _NOTHING, "")

    def takes_changed(
        self, changes: Mapping[Path, Scalar], without: frozenset[Path] = _NOTHING, form: str = ""
    ) -> bool:
        """Return whether the token that is meant still passes with these claims changed, and `without` those.

        Its subject then has one of the forms that hold `form`.
        """
        return self._takes_any(lambda _: True, self.parts, changes, without, form)

    def _takes_any(
        self,
        kept: Callable[[Path], bool],
        parts: Mapping[str, str],
        changes: Mapping[Path, Scalar],
        without: frozenset[Path],
        form: str,
    ) -> bool:
        also = (lambda path: path not in self.guessed and kept(path),) if self.guessed else ()
        return any(self._takes_one(keep, parts, changes, without, form) for keep in (kept, *also))

    def _takes_one(
        self,
        kept: Callable[[Path], bool],
        parts: Mapping[str, str],
        changes: Mapping[Path, Scalar],
        without: frozenset[Path],
        form: str,
    ) -> bool:
        values: dict[Path, object] = {}
        for path in self.looked_at:
            if path in without:
                continue
            if path in changes:
                values[path] = changes[path]
            elif path in self.values and kept(path):
                values[path] = self.values[path]
            elif self.provider is not None and path in self.provider.claims:
                values[path] = self.provider.claims[path]
        claims = nested(values)
        return any(self.takes({**claims, "sub": subject}) for subject in self._subjects(values, parts, form))

    def _subjects(self, values: Mapping[Path, object], parts: Mapping[str, str], form: str) -> list[str]:
        if self.provider is None:
            return [_subject_of(self.draft) or STRANGE_NAME]
        # Where nobody looks at the subject, one is as good as any.
        return self.provider.subjects(values, parts, form) if self.reads_subject else [STRANGE_NAME]


def asked_of(draft: Draft) -> Asked:
    """Return what `draft` asks."""
    conditions = tuple(one for one in build(draft, Discovery(), ()).conditions if one.check in _WHO)
    provider = provider_of(draft)
    values = dict(_values(draft))
    guessed = dict(draft.condition.equals) if draft.condition is not None else {}
    guessed = {path: text for path, text in guessed.items() if path not in values and path != ("sub",)}
    values |= guessed
    parts: dict[str, str] = {}
    subject = _subject_of(draft)
    if provider is not None:
        parts = {} if subject is None else provider.parts_of(subject)
        _complete(values, parts, provider)
    reads_subject = subject is not None or draft.subject_pattern is not None or draft.condition is not None
    looked_at = dict.fromkeys(one.path for one in conditions if isinstance(one, ClaimIs | ClaimMatches))
    if provider is not None and reads_subject:
        looked_at |= dict.fromkeys(provider.named.values())
    if draft.condition is not None:
        looked_at |= dict.fromkeys((*values, *(() if provider is None else provider.claims), *_OF_EXPRESSIONS))
    return Asked(draft, conditions, provider, values, parts, tuple(looked_at), reads_subject, frozenset(guessed))


def _subject_of(draft: Draft) -> str | None:
    return draft.subject or (None if draft.subject_pattern is None else example(draft.subject_pattern))


def _values(draft: Draft) -> Iterator[tuple[Path, Scalar]]:
    for path, pattern in draft.claim_patterns:
        if (found := example(pattern)) is not None:
            yield path, found
    for path, values in draft.claims:
        yield path, values[0]


def _complete(values: dict[Path, Scalar], parts: dict[str, str], provider: Provider) -> None:
    """Add what the parts of the subject say of the claims, and the other way round."""
    for name, path in provider.named.items():
        if name in parts:
            values.setdefault(path, parts[name])
    # GitHub's subject has owner and repository in one part, or in two.
    whole = values.get(("repository",))
    if isinstance(whole, str) and "/" in whole:
        owner, _, parts["repo"] = whole.partition("/")
        values.setdefault(("repository_owner",), owner)
    elif "owner" in parts and "repo" in parts:
        values.setdefault(("repository",), f"{parts['owner']}/{parts['repo']}")
