"""Verifies a token for `tailsts explain --online`: the keys that a policy names, fetched as the server fetches them."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from tailsts.cli.explaining import Told
from tailsts.cli.judging import Policies
from tailsts.errors import KeysUnavailableError, OpaUnavailableError
from tailsts.exchange import OTHER_UNDER_OTHER_KEYS
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import LIMITS, KeyCache
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import JwksFile, JwksText, describe
from tailsts.oidc.token import UnverifiedToken
from tailsts.oidc.verify import VerifiedToken, verify
from tailsts.opa import Opa
from tailsts.outbound import Outbound
from tailsts.policy.decide import NO_ANSWERS, Answers, Consult, Grant, Refusal
from tailsts.policy.explain import Case, Explanation, explain, unanswered
from tailsts.policy.model import Trust


class _Asked(msgspec.Struct, frozen=True):
    """A trust and what came of asking for its keys: what they say of the token, or why there are none.

    `knows` tells whether the token's key is among them.
    """

    trust: Trust
    result: VerifiedToken | Rejected | str
    knows: bool = False


class _Agents(Opa):
    """Open Policy Agents, and the URLs of those that gave no answer: that is no "no"."""

    def __init__(self, *, extra_roots: tuple[bytes, ...], monotonic: Callable[[], float]) -> None:
        super().__init__(extra_roots=extra_roots, monotonic=monotonic)
        self.silent: set[str] = set()

    async def agrees(self, question: Consult, deadline: float) -> bool:
        """Return whether the agent says yes; see `Opa`."""
        try:
            return await super().agrees(question, deadline)
        except OpaUnavailableError:
            self.silent.add(question.opa.url)
            raise


def verified_under(policies: Policies, token: UnverifiedToken, case: Case, roots: tuple[bytes, ...]) -> Told:
    """Fetch keys, verify, and explain under those trusts alone whose keys verified the token.

    Open Policy Agents are asked where it depends on them. `roots` are certificates (PEM) to trust for all of these.
    """
    return asyncio.run(_verified_under(policies, token, case, roots))


async def _verified_under(policies: Policies, token: UnverifiedToken, case: Case, roots: tuple[bytes, ...]) -> Told:
    generation, trusted = policies.generation, policies.trusted
    trusts = generation.trusts_of(token.unverified_issuer)
    assumed = explain(generation, case, {}, trusted, trusts)
    if isinstance(assumed.verdict, Rejected) and assumed.verdict.reason in {
        Reason.UNKNOWN_ISSUER,
        Reason.UNTRUSTED_ISSUER,
    }:
        return Told(assumed, "not verified: the server would not ask this issuer for keys")
    asked = await asyncio.gather(*(_ask(trust, token, case.now, roots) for trust in trusts))
    said = "; ".join(map(_said, asked))
    # As the server: whose keys do not know the token's has nothing to say if others do.
    knowing = [each for each in asked if each.knows]
    holding = [each.trust for each in knowing or asked if isinstance(each.result, VerifiedToken)]
    if holding:
        explanation, fault = await _agreed(lambda given: explain(generation, case, given, trusted, holding), roots)
        if fault:
            return Told(explanation, said, fault, OpaUnavailableError.reason)
    else:
        explanation = _rejected(assumed, knowing or asked)
    # Where another trust might have allowed it, "no" is more than is known.
    silent = [each.result for each in asked if isinstance(each.result, str)]
    is_settled = bool(knowing) and not _is_open(explanation)
    return Told(explanation, said, "" if is_settled else "; ".join(silent))


def _is_open(explanation: Explanation) -> bool:
    """Return whether another trust's keys may still come to another verdict."""
    verdict = explanation.verdict
    return isinstance(verdict, Refusal) or (isinstance(verdict, Rejected) and verdict.reason in OTHER_UNDER_OTHER_KEYS)


async def _agreed(explained: Callable[[Answers], Explanation], roots: tuple[bytes, ...]) -> tuple[Explanation, str]:
    """Return the explanation when every Open Policy Agent was asked that it depends on, and why that cannot be told."""
    explanation = explained(NO_ANSWERS)
    question = explanation.verdict
    if not isinstance(question, Consult):
        return explanation, ""
    said: dict[str, bool] = {}
    asked = {question.policy: question.opa.url}

    def decided(answers: Answers) -> Grant | Refusal | Consult:
        said.update(answers)
        verdict = explained(said).verdict
        # Whoever was asked at all is believed, and fit.
        assert isinstance(verdict, Grant | Refusal | Consult)  # noqa: S101
        if isinstance(verdict, Consult):
            asked[verdict.policy] = verdict.opa.url
        return verdict

    agents = _Agents(extra_roots=roots, monotonic=time.monotonic)
    verdict, fault = await agents.consulted(question, decided)
    explanation = unanswered(explained(said), [policy for policy, url in asked.items() if url in agents.silent])
    return explanation, "" if fault is None or isinstance(verdict, Grant) else str(fault)


def _rejected(assumed: Explanation, asked: Sequence[_Asked]) -> Explanation:
    """Return the explanation of a token that no key verified. What the trust says whose key signed counts for more."""
    verdict = None
    for each in asked:
        if isinstance(each.result, Rejected) and (verdict is None or verdict.reason in OTHER_UNDER_OTHER_KEYS):
            verdict = each.result
    if verdict is None or verdict == assumed.verdict:
        return assumed
    return msgspec.structs.replace(assumed, verdict=verdict, hint="")


def _said(asked: _Asked) -> str:
    where = describe(asked.trust.source)
    if isinstance(asked.result, VerifiedToken):
        return f"holds under the keys of {where}"
    return f"{where}: {asked.result if isinstance(asked.result, str) else asked.result.detail}"


async def _ask(trust: Trust, token: UnverifiedToken, now: float, roots: tuple[bytes, ...]) -> _Asked:
    source = trust.source
    ca_pem = None if isinstance(source, JwksFile | JwksText) else source.ca_pem
    cache = KeyCache(
        token.unverified_issuer,
        source,
        Outbound(LIMITS, extra_roots=roots if ca_pem is None else (*roots, ca_pem), compressed=True),
        rules=Rules(),
        monotonic=time.monotonic,
        report=lambda _report: None,
    )
    try:
        keys = await cache.keys_for(token.key_id)
    except KeysUnavailableError as error:
        return _Asked(trust, str(error))
    return _Asked(trust, verify(token, keys, trust.algorithms, now), keys.knows(token.key_id))
