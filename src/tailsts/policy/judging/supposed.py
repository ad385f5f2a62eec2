"""Tokens that a policy's author did not mean, made up to see whether the policy would take them. Pure.

The policy's own conditions answer, as they would for a real token. So what is found is always shown by an example;
where no example is found, nothing is said.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import msgspec

from tailsts.oidc.source import Discovery
from tailsts.oidc.verify import VerifiedToken, assume_signed
from tailsts.policy.build import build
from tailsts.policy.claims import Path, Scalar, exactly
from tailsts.policy.condition import Check, ClaimIs, ClaimMatches, Condition, Facts
from tailsts.policy.draft import Draft
from tailsts.policy.judging.known import provider_of
from tailsts.policy.judging.meant import guesses, tokens_of
from tailsts.policy.judging.providers import STRANGE_NAME, Provider, nested

_WHO = frozenset({Check.SUBJECT, Check.CLAIM, Check.CONDITION})
# For a policy that says nothing of its own time: 2027.
_SOME_TIME = 1_800_000_000.0
# For one that names none: which it is makes no difference to what it asks.
_SOME_ISSUER = "https://issuer.example"
# What a condition may look at without a provider that is known to have it.
_OF_EXPRESSIONS: tuple[Path, ...] = (("email_verified",),)
_NOTHING: frozenset[Path] = frozenset()
_ENCODER = msgspec.json.Encoder()
_AS_IS: Mapping[Path, Scalar] = {}
_AS_THEY_ARE: Mapping[str, str] = {}


_Value = TypeVar("_Value")


class Asked(msgspec.Struct, frozen=True):
    """What a policy asks of the one who comes: its conditions, and one token that it means, as far as that can be told.

    `subject` is that of the token, `values` are claims of it, and `parts` parts of its subject. `looked_at` are the
    claims that make a difference, as the subject does if the policy `reads_subject`. Those of `guessed` may be the
    opposite of what is meant: the condition compares with them, perhaps below a "not". `others` are further tokens
    that it means, where it names several values or a pattern has branches.
    """

    draft: Draft
    conditions: tuple[Condition, ...]
    usual: Facts
    provider: Provider | None
    subject: str | None = None
    values: Mapping[Path, Scalar] = _AS_IS
    parts: Mapping[str, str] = _AS_THEY_ARE
    looked_at: tuple[Path, ...] = ()
    reads_subject: bool = False
    guessed: frozenset[Path] = _NOTHING
    others: tuple["Asked", ...] = ()
    tried: dict[bytes, bool] = msgspec.field(default_factory=dict)
    """Verdicts about tokens that were made up, most of which are made up several times."""

    def each(self) -> tuple["Asked", ...]:
        """Return one for each token that is meant."""
        return (self, *self.others)

    def takes(self, claims: Mapping[str, object]) -> bool:
        """Return whether all that is asked about who comes holds for a token with these claims."""
        subject = claims.get("sub", STRANGE_NAME)
        if not isinstance(subject, str) or not subject:
            return False
        usual = self.usual.token
        token = msgspec.structs.replace(usual, subject=subject, claims={**usual.claims, **claims, "sub": subject})
        facts = msgspec.structs.replace(self.usual, token=token)
        return all(condition.holds(facts) for condition in self.conditions)

    def takes_stranger(self, *, weak: bool = False) -> bool:
        """Return whether somebody passes who shares with those who are meant only what anybody can choose.

        With `weak`, also what strangers can share.
        """
        return any(one.takes_changed({}) for one in self.strangers(weak=weak))

    def strangers(self, *, weak: bool = False) -> list["Asked"]:
        """Return those who share no more than that; as many as there are values of one claim that they can share."""
        provider = self.provider
        if provider is None:
            return []
        shared: dict[Path, dict[tuple[type, Scalar], Scalar]] = {}
        for one in self.each():
            for path, value in one.values.items():
                if provider.is_choosable(path) or (weak and path in provider.weak):
                    shared.setdefault(path, {})[exactly(value)] = value
        ways = {path: tuple(values.values()) for path, values in shared.items()}
        parts = list(dict.fromkeys(tuple(one.chosen_parts().items()) for one in self.each()))
        return [
            msgspec.structs.replace(
                self, values={path: _at(values, at) for path, values in ways.items()}, parts=dict(_at(parts, at))
            )
            for at in range(max(len(parts), *map(len, ways.values()), 1))
        ]

    def takes_namesake(self) -> bool:
        """Return whether somebody passes who has the same names as those who are meant, and other ids."""
        provider = self.provider
        if provider is None:
            return False
        return any(one.takes_any(lambda path: path not in provider.ids, one.chosen_parts()) for one in self.each())

    def takes_changed(
        self,
        changes: Mapping[Path, Scalar],
        without: frozenset[Path] = _NOTHING,
        form: str = "",
        parts: Mapping[str, str] = _AS_THEY_ARE,
    ) -> bool:
        """Return whether the first token that is meant still passes with these claims changed, and `without` those.

        Its subject then has one of the forms that hold `form`, and these `parts`.
        """
        return self.takes_any(lambda _: True, {**self.parts, **parts}, changes, without, form)

    def chosen_parts(self) -> dict[str, str]:
        """Return the parts of the subject that everybody can choose."""
        chosen = frozenset[str]() if self.provider is None else self.provider.chosen_parts
        return {name: text for name, text in self.parts.items() if name in chosen}

    def takes_any(
        self,
        kept: Callable[[Path], bool],
        parts: Mapping[str, str],
        changes: Mapping[Path, Scalar] = _AS_IS,
        without: frozenset[Path] = _NOTHING,
        form: str = "",
    ) -> bool:
        """Return whether a token passes that has what is `kept` of the first that is meant, and else a stranger's."""
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
        given = _ENCODER.encode([*values.items()])
        return any(self._takes_made(given, values, subject) for subject in self._subjects(values, parts, form))

    def _takes_made(self, given: bytes, values: Mapping[Path, object], subject: str) -> bool:
        key = given + subject.encode()
        if key not in self.tried:
            self.tried[key] = self.takes({**nested(values), "sub": subject})
        return self.tried[key]

    def _subjects(self, values: Mapping[Path, object], parts: Mapping[str, str], form: str) -> list[str]:
        if self.provider is None:
            return [self.subject or STRANGE_NAME]
        if not self.reads_subject:
            # Where nobody looks at the subject, one is as good as any.
            return [STRANGE_NAME]
        # Most do not pass for their subject alone, and there are many.
        return [one for one in self.provider.subjects(values, parts, form) if self._fits(one)]

    def _fits(self, subject: str) -> bool:
        draft = self.draft
        if draft.subject_pattern is not None:
            return draft.subject_pattern.matches(subject)
        return draft.subject is None or draft.subject == subject


def asked_of(draft: Draft) -> Asked:
    """Return what `draft` asks."""
    asked = Asked(
        draft=draft,
        conditions=tuple(one for one in build(draft, Discovery(), ()).conditions if one.check in _WHO),
        usual=_usual(draft),
        provider=provider_of(draft),
        tried={},
    )
    meant = [_meant(asked, *token) for token in tokens_of(draft)]
    return msgspec.structs.replace(meant[0], others=tuple(meant[1:]))


def _usual(draft: Draft) -> Facts:
    """Return what is the same of all tokens that are made up."""
    now = draft.not_before if draft.not_before is not None else _SOME_TIME
    claims = {
        "iss": draft.issuer or _SOME_ISSUER,
        "sub": STRANGE_NAME,
        "aud": sorted(draft.audiences),
        "iat": now,
        "exp": now + 300,
    }
    # Nothing of it can be rejected.
    token = cast("VerifiedToken", assume_signed(claims, "RS256", now))
    return Facts(token, tuple(sorted(draft.allowed_scopes)), tuple(sorted(draft.allowed_tags)), now)


def _meant(asked: Asked, subject: str | None, named: Mapping[Path, Scalar]) -> Asked:
    draft, provider = asked.draft, asked.provider
    values = dict(named)
    parts: dict[str, str] = {}
    if provider is not None:
        parts = {} if subject is None else provider.parts_of(subject)
        _complete(values, parts, provider)
    reads_subject = subject is not None or draft.subject_pattern is not None or draft.condition is not None
    looked_at = dict.fromkeys(one.path for one in asked.conditions if isinstance(one, ClaimIs | ClaimMatches))
    if provider is not None and reads_subject:
        looked_at |= dict.fromkeys(provider.named.values())
    if draft.condition is not None:
        looked_at |= dict.fromkeys((*values, *(() if provider is None else provider.claims), *_OF_EXPRESSIONS))
    # What the condition surely asks for is no guess.
    sure = (draft.condition and draft.condition.implied) or {}
    guessed = (guesses(draft).keys() & named.keys()) - sure.keys()
    return msgspec.structs.replace(
        asked,
        subject=subject,
        values=values,
        parts=parts,
        looked_at=tuple(looked_at),
        reads_subject=reads_subject,
        guessed=frozenset(guessed),
    )


def _at(values: Sequence[_Value], at: int) -> _Value:
    """Return the value at this place, or the last one."""
    return values[min(at, len(values) - 1)]


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
