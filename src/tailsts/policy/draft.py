"""A policy as its text says it: the files that it names are not opened yet, and what the server adds is not there."""

import msgspec

from tailsts.policy.cel.expression import Expression
from tailsts.policy.claims import Path, Scalar
from tailsts.policy.issuers import SHARED
from tailsts.policy.model import DEFAULT_MAX_LIFETIME, DEFAULT_TAILNET
from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.rate import Rate


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one file says. Names as in the file; `claims` and `claim_patterns` by the path of the claim, in order.

    Times are seconds since the epoch, durations seconds.
    """

    name: str
    issuer: str = ""
    issuer_pattern: Pattern | None = None
    algorithms: frozenset[str] = frozenset({"RS256"})
    subject: str | None = None
    subject_pattern: Pattern | None = None
    any_subject: bool = False
    audiences: frozenset[str] = frozenset()
    audience_pattern: Pattern | None = None
    claims: tuple[tuple[Path, tuple[Scalar, ...]], ...] = ()
    claim_patterns: tuple[tuple[Path, Pattern], ...] = ()
    condition: Expression | None = None
    opa_url: str | None = None
    allowed_scopes: frozenset[str] = frozenset()
    allowed_tags: frozenset[str] = frozenset()
    tailnet: str = DEFAULT_TAILNET
    max_lifetime: int = DEFAULT_MAX_LIFETIME
    max_age: int | None = None
    single_use: bool = False
    rate_limit: Rate | None = None
    not_before: float | None = None
    not_after: float | None = None
    description: str = ""
    jwks_url: str | None = None
    jwks_file: str | None = None
    ca_file: str | None = None
    allow_http: bool = False

    def shared_by(self) -> str | None:
        """Return the name of the issuer if everybody can get a token from it, or from one that the pattern matches."""
        if self.issuer_pattern is None:
            return SHARED.get(self.issuer)
        return next((name for issuer, name in SHARED.items() if self.issuer_pattern.matches(issuer)), None)

    def asks_who(self) -> bool:
        """Return whether it says anything of the token beyond its issuer and audience."""
        said = (self.subject, self.subject_pattern, self.condition)
        return any(part is not None for part in said) or bool(self.claims or self.claim_patterns)
