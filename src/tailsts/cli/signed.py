"""Verifies a token for `tailsts explain --online`: the keys that a policy names, fetched as the server fetches them."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from tailsts.cli.explaining import Told
from tailsts.cli.judging import Policies
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, KeyCache
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import JwksFile, JwksText, describe
from tailsts.oidc.token import UnverifiedToken
from tailsts.oidc.verify import VerifiedToken, verify
from tailsts.outbound import Outbound
from tailsts.policy.explain import Case, Explanation, explain
from tailsts.policy.model import Generation, Trust, assemble

# Verified, rejected, or why there are no keys.
_Result = VerifiedToken | Rejected | str


def verified_under(policies: Policies, token: UnverifiedToken, case: Case) -> Told:
    """Fetch keys, verify, and explain under those trusts alone whose keys verified the token."""
    assumed = explain(policies.generation, case, {}, policies.trusted)
    if isinstance(assumed.verdict, Rejected) and assumed.verdict.reason in {
        Reason.UNKNOWN_ISSUER,
        Reason.UNTRUSTED_ISSUER,
    }:
        return Told(assumed, "not verified: the server would not ask this issuer for keys")
    trusts = policies.generation.trusts_of(token.unverified_issuer)
    results = asyncio.run(_results(trusts, token, case.now))
    said = "; ".join(_said(trust, result) for trust, result in zip(trusts, results, strict=True))
    holding = [trust for trust, result in zip(trusts, results, strict=True) if isinstance(result, VerifiedToken)]
    if holding:
        explanation = explain(_only(policies.generation, holding), case, {}, policies.trusted)
        is_settled = explanation.allowed
    else:
        explanation, is_settled = _rejected(assumed, results)
    # As the server: where another trust might have allowed it, "no" is more than is known.
    silent = [result for result in results if isinstance(result, str)]
    return Told(explanation, said, "" if is_settled else "; ".join(silent))


def _rejected(assumed: Explanation, results: Sequence[_Result]) -> tuple[Explanation, bool]:
    """Return the explanation of a token that no key verified, and whether other keys could not change it."""
    rejections = [result for result in results if isinstance(result, Rejected)]
    # Whoever's key did sign says of the claims what was assumed; that counts for more.
    if assumed.verdict in rejections:
        assert isinstance(assumed.verdict, Rejected)  # noqa: S101 - it is among them
        return assumed, assumed.verdict.reason is not Reason.ALGORITHM
    return (msgspec.structs.replace(assumed, verdict=rejections[0], hint="") if rejections else assumed), False


def _only(generation: Generation, trusts: Sequence[Trust]) -> Generation:
    return assemble([policy for trust in trusts for policy in trust.policies], generation.digest)


def _said(trust: Trust, result: _Result) -> str:
    where = describe(trust.source)
    if isinstance(result, VerifiedToken):
        return f"holds under the keys of {where}"
    return f"{where}: {result if isinstance(result, str) else result.detail}"


async def _results(trusts: Sequence[Trust], token: UnverifiedToken, now: float) -> Sequence[_Result]:
    return await asyncio.gather(*(_result(trust, token, now) for trust in trusts))


async def _result(trust: Trust, token: UnverifiedToken, now: float) -> _Result:
    source = trust.source
    ca_pem = None if isinstance(source, JwksFile | JwksText) else source.ca_pem
    cache = KeyCache(
        token.unverified_issuer,
        source,
        Outbound(LIMITS, extra_roots=() if ca_pem is None else (ca_pem,), compressed=True),
        rules=Rules(),
        monotonic=time.monotonic,
        report=lambda _report: None,
    )
    try:
        keys = await cache.keys_for(token.key_id)
    except KeysUnavailableError as error:
        return str(error)
    return verify(token, keys, trust.algorithms, now)
