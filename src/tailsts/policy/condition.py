"""What a policy can ask of a token and a request: a closed union. All that a policy names must hold. Pure.

Each condition is one question with one way to answer it, which the decision and its explanation share. `rank` is the
order in which they are asked: cheap and telling ones first. The further a policy gets, the nearer was the miss.

None of them can be part of a reference cycle, and there may be many: so the garbage collector need not look at them.
"""

from enum import IntEnum
from typing import ClassVar

import msgspec

from tailsts.oidc.verify import LEEWAY, VerifiedToken
from tailsts.policy.cel.expression import Expression
from tailsts.policy.claims import Path, Scalar, lookup
from tailsts.policy.patterns.pattern import Pattern


class Check(IntEnum):
    """The kinds of checks. What a caller may learn of a refusal is its kind; the names are part of the reason codes."""

    POLICY = 0
    SUBJECT = 1
    CLAIM = 2
    CONDITION = 3
    AUDIENCE = 4
    ALGORITHM = 5
    LIFETIME = 6
    AGE = 7
    PERIOD = 8
    SCOPE = 9
    TAG = 10
    OPA = 11


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is judged: the token, and what it would get. `tags` are those of the minted token; `now` is seconds."""

    token: VerifiedToken
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    now: float


class SubjectIs(msgspec.Struct, frozen=True, gc=False):
    """The token's `sub` is this text."""

    rank: ClassVar[int] = 1
    check: ClassVar[Check] = Check.SUBJECT
    subject: str

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return facts.token.subject == self.subject


class ClaimIs(msgspec.Struct, frozen=True, gc=False):
    """The claim at `path` is one of `values`, type and all. A list is never one of them."""

    rank: ClassVar[int] = 2
    check: ClassVar[Check] = Check.CLAIM
    path: Path
    values: tuple[Scalar, ...]

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        actual = lookup(facts.token.claims, self.path)
        # Python holds 1, 1.0 and True to be equal.
        return any(type(value) is type(actual) and value == actual for value in self.values)


class SubjectMatches(msgspec.Struct, frozen=True, gc=False):
    """The pattern matches the whole of the token's `sub`."""

    rank: ClassVar[int] = 3
    check: ClassVar[Check] = Check.SUBJECT
    pattern: Pattern

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return self.pattern.matches(facts.token.subject)


class ClaimMatches(msgspec.Struct, frozen=True, gc=False):
    """The claim at `path` is a string, and the pattern matches the whole of it."""

    rank: ClassVar[int] = 4
    check: ClassVar[Check] = Check.CLAIM
    path: Path
    pattern: Pattern

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        actual = lookup(facts.token.claims, self.path)
        return type(actual) is str and self.pattern.matches(actual)


class AudienceAmong(msgspec.Struct, frozen=True, gc=False):
    """One of the token's audiences is one of these (RFC 7519, 4.1.3)."""

    rank: ClassVar[int] = 6
    check: ClassVar[Check] = Check.AUDIENCE
    audiences: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return not self.audiences.isdisjoint(facts.token.audiences)


class AudienceMatches(msgspec.Struct, frozen=True, gc=False):
    """The pattern matches the whole of one of the token's audiences."""

    rank: ClassVar[int] = 7
    check: ClassVar[Check] = Check.AUDIENCE
    pattern: Pattern

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return any(self.pattern.matches(audience) for audience in facts.token.audiences)


class AlgorithmAmong(msgspec.Struct, frozen=True, gc=False):
    """The token is signed with one of these (RFC 7518, 3.1)."""

    rank: ClassVar[int] = 8
    check: ClassVar[Check] = Check.ALGORITHM
    algorithms: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return facts.token.algorithm in self.algorithms


class LifetimeAtMost(msgspec.Struct, frozen=True, gc=False):
    """The token lives at most so many seconds.

    Counted from its issue, so that an old token with a far expiry does not pass late in its life; and from now, so
    that an issuer that leaves iat out gains nothing by it.
    """

    rank: ClassVar[int] = 9
    check: ClassVar[Check] = Check.LIFETIME
    seconds: int

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        token = facts.token
        if token.issued_at is not None and token.expires_at - token.issued_at > self.seconds:
            return False
        return token.expires_at - facts.now <= self.seconds + LEEWAY


class AgeAtMost(msgspec.Struct, frozen=True, gc=False):
    """The token was issued at most so many seconds ago. One that does not say when is too old."""

    rank: ClassVar[int] = 10
    check: ClassVar[Check] = Check.AGE
    seconds: int

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        issued_at = facts.token.issued_at
        return issued_at is not None and facts.now - issued_at <= self.seconds


class Within(msgspec.Struct, frozen=True, gc=False):
    """The policy itself is in force, from `not_before` and until before `not_after`: seconds since the epoch."""

    rank: ClassVar[int] = 11
    check: ClassVar[Check] = Check.PERIOD
    not_before: float | None
    not_after: float | None

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        if self.not_before is not None and facts.now < self.not_before:
            return False
        return self.not_after is None or facts.now < self.not_after


class ScopesAmong(msgspec.Struct, frozen=True, gc=False):
    """Scopes are wanted, and all of them are among these."""

    rank: ClassVar[int] = 12
    check: ClassVar[Check] = Check.SCOPE
    allowed: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return bool(facts.scopes) and self.allowed.issuperset(facts.scopes)


class TagsAmong(msgspec.Struct, frozen=True, gc=False):
    """All wanted tags are among these."""

    rank: ClassVar[int] = 13
    check: ClassVar[Check] = Check.TAG
    allowed: frozenset[str]

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return not facts.tags or self.allowed.issuperset(facts.tags)


class ExpressionHolds(msgspec.Struct, frozen=True, gc=False):
    """The CEL expression is true. That it cannot be evaluated is never a yes."""

    rank: ClassVar[int] = 5
    check: ClassVar[Check] = Check.CONDITION
    expression: Expression

    def holds(self, facts: Facts) -> bool:
        """Return whether it holds."""
        return self.expression.evaluate(facts.token.claims, facts.scopes, facts.tags, facts.now) is True


class OpaAllows(msgspec.Struct, frozen=True, gc=False):
    """An Open Policy Agent at `url` says yes in addition.

    It can only be asked outside of what is pure here, so the decision is told its answer: see `decide`.
    """

    rank: ClassVar[int] = 14
    check: ClassVar[Check] = Check.OPA
    url: str


Condition = (
    SubjectIs
    | ClaimIs
    | SubjectMatches
    | ClaimMatches
    | AudienceAmong
    | AudienceMatches
    | AlgorithmAmong
    | LifetimeAtMost
    | AgeAtMost
    | Within
    | ScopesAmong
    | TagsAmong
    | ExpressionHolds
)
