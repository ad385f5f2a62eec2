"""For whom a token was made, and for whom the policy is to want one. Pure."""

from collections.abc import Sequence

import msgspec

from tailsts.authoring.sketch import PLACEHOLDER_AUDIENCE, Claims, Service

# Services that many workloads ask tokens for. Who accepts one of these accepts what was made for somebody else.
_ELSEWHERE = frozenset(
    {
        "api://AzureADTokenExchange",
        "aws.workload.identity",
        "hcp.workload.identity",
        "npm:registry.npmjs.org",
        "pypi",
        "sigstore",
        "sts.amazonaws.com",
        "testpypi",
        "vault.workload.identity",
    }
)
_ELSEWHERE_BELOW = ("//iam.googleapis.com/", "https://iam.googleapis.com/")
_NOWHERE = "https://other.example.com"


class Audience(msgspec.Struct, frozen=True):
    """What a policy wants as audience, why, and one that it does not want. `asked`: the token has another one."""

    wanted: str
    why: str
    unwanted: str
    asked: bool = False
    warning: str = ""


def choose(service: Service, claims: Claims, named: str | None) -> Audience:
    """Return the audience that is `named`, else the token's own, else a placeholder."""
    said = _said(claims)
    usual = [audience for audience in service.default_audiences(claims) if audience]
    own = [audience for audience in said if audience not in usual and not _is_elsewhere(audience)]
    unwanted = next((audience for audience in (*usual, _NOWHERE) if audience != named), _NOWHERE)
    if named is not None:
        return _asked(said, named, unwanted)
    if own:
        return Audience(own[0], "Made for this service: a token that was made for another is refused.", unwanted)
    chosen = _asked(said, PLACEHOLDER_AUDIENCE, unwanted)
    warning = f'the audience "{PLACEHOLDER_AUDIENCE}" stands for your own: say it with --audience, and ask for it'
    return msgspec.structs.replace(chosen, warning=warning)


def _asked(said: Sequence[str], wanted: str, unwanted: str) -> Audience:
    if wanted in said:
        return Audience(wanted, "Made for this service: a token that was made for another is refused.", unwanted)
    had = f'The token had "{said[0]}", which is for another service: ask' if said else "Ask"
    return Audience(wanted, f"{had} the issuer for this one. Tokens for others are refused.", unwanted, asked=True)


def _said(claims: Claims) -> list[str]:
    value = claims.get("aud")
    found = value if isinstance(value, list) else [value]
    return [audience for audience in found if isinstance(audience, str) and audience]


def _is_elsewhere(audience: str) -> bool:
    return audience in _ELSEWHERE or audience.startswith(_ELSEWHERE_BELOW)
