"""Policies, tokens and verdicts in this process, without files."""

from collections.abc import Sequence
from typing import Any

from tailsts.oidc.source import Discovery, KeySource
from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.build import build
from tailsts.policy.decide import NO_ANSWERS, Answers, Consult, Grant, Refusal, Wanted, decide
from tailsts.policy.draft import Draft
from tailsts.policy.model import Policy, assemble

NOW = 1_800_000_000.0
ISSUER = "https://i"


def verified(subject: str = "s", claims: dict[str, object] | None = None, **changes: Any) -> VerifiedToken:  # noqa: ANN401
    """Return a verified token of the usual issuer for the audience `a`, changed."""
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": subject,
        "audiences": ("a",),
        "algorithm": "RS256",
        "expires_at": NOW + 300,
        "issued_at": NOW,
        "claims": {"iss": ISSUER, "sub": subject, **(claims or {})},
    }
    return VerifiedToken(**{**values, **changes})


def draft(name: str = "p", **changes: Any) -> Draft:  # noqa: ANN401
    """Return a draft that trusts the usual token with the scopes x and y, changed; fields as in `Draft`."""
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": "s",
        "audiences": frozenset({"a"}),
        "allowed_scopes": frozenset({"x", "y"}),
    }
    return Draft(name=name, **{**usual, **changes})


def policy(name: str = "p", source: KeySource | None = None, **changes: Any) -> Policy:  # noqa: ANN401
    """Return the policy of such a draft."""
    return build(draft(name, **changes), source or Discovery(), ())


def verdict(
    token: VerifiedToken, wanted: Wanted, policies: Sequence[Policy], now: float = NOW, answers: Answers = NO_ANSWERS
) -> Grant | Refusal | Consult:
    """Return the verdict of these policies as the service comes to it, if each trust's keys verified the token."""
    return decide(assemble(policies, "d").trusts_of(token.issuer), token, wanted, now, answers)
