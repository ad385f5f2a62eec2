"""Why a request is allowed or denied: the verdict that the service would give, and beside it every check. Pure.

The verdict comes from `decide`, as everywhere; what is added asks the same conditions again and writes down the
answers. Offline: that the issuer's key signed the claims is assumed; where its policies name several sources of keys,
each of them alone.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

import msgspec

from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import describe
from tailsts.oidc.verify import VerifiedToken, assume_signed
from tailsts.policy.asked import Unfit
from tailsts.policy.condition import Check, Condition, Facts, OpaAllows
from tailsts.policy.decide import NO_ANSWERS, Answers, Consult, Grant, Refusal, Wanted, decide, facts_for
from tailsts.policy.hints import duration, hint, near_issuer, unfit
from tailsts.policy.model import Bounds, Generation, Policy, Trust
from tailsts.policy.observe import NO_ANSWER, Observation, observe, shown
from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.trusted import TrustedIssuers

Verdict = Grant | Refusal | Consult | Rejected | Unfit

# Tokens that are out of time are explained as of a time at which they were not.
_OUT_OF_TIME = frozenset({Reason.EXPIRED, Reason.NOT_YET_VALID, Reason.ISSUED_IN_FUTURE})

# Of a policy that no check stopped: further than any rank.
_BEYOND_ALL = 100
# How many names of policies are worth reading.
_FEW_NAMES = 10


class Case(msgspec.Struct, frozen=True):
    """What is to be explained: the claims of a token, its algorithm, what is wanted, and when (seconds)."""

    claims: Mapping[str, object]
    algorithm: str
    wanted: Wanted | Unfit
    now: float


class Step(msgspec.Struct, frozen=True):
    """One check of a policy, and its `rank` among all. `held` is None for an Open Policy Agent that has not said."""

    check: Check
    rank: int
    held: bool | None
    seen: Observation
    hint: str = ""


class Trace(msgspec.Struct, frozen=True):
    """Every check of one policy, in order. Its `bounds` are not judged: that takes what the service remembers."""

    policy: str
    steps: tuple[Step, ...]
    bounds: Bounds | None = None

    @property
    def held(self) -> bool:
        """Whether no check failed."""
        return all(step.held is not False for step in self.steps)


class Under(msgspec.Struct, frozen=True):
    """The verdict on a token that is verified by the keys of one `source`, and by no others. `otherwise`: as there."""

    source: str
    verdict: Verdict
    otherwise: Grant | None = None


class Explanation(msgspec.Struct, frozen=True):
    """The verdict, what is said of the token or the request itself, and the policies of its issuer, nearest first.

    `would_refuse` is the reason for which an allow-list that only watches would refuse it, '' if it would not. `under`
    has the verdict for each source of keys, where it is not known which of them verifies the token and they differ;
    then `verdict` is that on a token which all of them verify. `otherwise` is what another policy grants if the agent
    that is to be asked does not agree, or gives no answer.
    """

    verdict: Verdict
    hint: str
    traces: tuple[Trace, ...]
    would_refuse: str = ""
    under: tuple[Under, ...] = ()
    otherwise: Grant | None = None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every verdict that it may come to."""
        found = self.under or (self,)
        return tuple(each.otherwise or each.verdict for each in found)

    @property
    def allowed(self) -> bool | None:
        """Whether the service would mint a token.

        None: that cannot be told, as it depends on whose keys verify the token, or on what an Open Policy Agent says.
        """
        found = {_allows(verdict) for verdict in self.verdicts}
        return found.pop() if len(found) == 1 else None

    @property
    def reason(self) -> str:
        """The reason code that the audit log would have; '' if that cannot be told."""
        found = {_reason(verdict) for verdict in self.verdicts}
        return found.pop() if len(found) == 1 else ""


def explain(
    generation: Generation,
    case: Case,
    answers: Answers = NO_ANSWERS,
    trusted: TrustedIssuers | None = None,
    signers: Sequence[Trust] | None = None,
) -> Explanation:
    """Explain a case under these policies.

    `answers` are those of Open Policy Agents, by policy. `signers` are the trusts whose keys verify the token; None if
    nobody looked: then it may be those of any source that the policies of its issuer name.
    """
    wanted = case.wanted
    if isinstance(wanted, Unfit):
        # The service answers this before it looks at the token.
        return Explanation(wanted, unfit(wanted.reason, wanted.culprit), ())
    issuer = case.claims.get("iss")
    trusts = signers if signers is not None else generation.trusts_of(issuer) if isinstance(issuer, str) else ()
    verdict = _judge(trusts, case, wanted, answers, trusted)
    policies = [policy for trust in trusts for policy in trust.policies]
    said = _said_of_token(generation, case, verdict) or _said_of_policy(wanted.policy, policies)
    if wanted.policy is not None:
        policies = [policy for policy in policies if policy.name == wanted.policy]
    token, now = _as_if_in_time(case)
    traces = [] if token is None else [_trace(policy, token, wanted, now, answers) for policy in policies]
    return Explanation(
        verdict,
        said,
        tuple(sorted(traces, key=lambda trace: _distance(trace, verdict))),
        _would_refuse(issuer, trusted),
        () if signers is not None else _under(trusts, case, wanted, answers, trusted),
        _otherwise(trusts, case, wanted, answers, verdict),
    )


def unanswered(explanation: Explanation, policies: Collection[str]) -> Explanation:
    """Return the explanation where the Open Policy Agents of these policies were asked, and gave no answer."""
    traces = [_unanswered(trace) if trace.policy in policies else trace for trace in explanation.traces]
    return msgspec.structs.replace(explanation, traces=tuple(traces))


def _unanswered(trace: Trace) -> Trace:
    *steps, last = trace.steps
    seen = msgspec.structs.replace(last.seen, actual=NO_ANSWER)
    return msgspec.structs.replace(trace, steps=(*steps, msgspec.structs.replace(last, held=None, seen=seen, hint="")))


def by_keys(trusts: Sequence[Trust]) -> Mapping[str, Sequence[Trust]]:
    """Return the trusts of one issuer by the source of their keys: a token verifies under all of a source, or none."""
    found: dict[str, list[Trust]] = {}
    for trust in trusts:
        found.setdefault(describe(trust.source), []).append(trust)
    return found


def _under(
    trusts: Sequence[Trust], case: Case, wanted: Wanted, answers: Answers, trusted: TrustedIssuers | None
) -> tuple[Under, ...]:
    found: list[Under] = []
    for source, signers in by_keys(trusts).items():
        verdict = _judge(signers, case, wanted, answers, trusted)
        found.append(Under(source, verdict, _otherwise(signers, case, wanted, answers, verdict)))
    return tuple(found) if any(under.verdict != found[0].verdict for under in found) else ()


def _otherwise(trusts: Sequence[Trust], case: Case, wanted: Wanted, answers: Answers, verdict: Verdict) -> Grant | None:
    if not isinstance(verdict, Consult):
        return None
    no = {policy.name: False for trust in trusts for policy in trust.policies if policy.opa is not None}
    found = _judge(trusts, case, wanted, {**no, **answers}, None)
    return found if isinstance(found, Grant) else None


def _allows(verdict: Verdict) -> bool | None:
    return None if isinstance(verdict, Consult) else isinstance(verdict, Grant)


def _reason(verdict: Verdict) -> str:
    match verdict:
        case Rejected(reason=reason) | Unfit(reason=reason) | Refusal(reason=reason):
            return reason
        case Grant():
            return "granted"
        case Consult():
            return ""
        case _:
            assert_never(verdict)


def _would_refuse(issuer: object, trusted: TrustedIssuers | None) -> str:
    if trusted is None or trusted.mode == "enforce" or not isinstance(issuer, str):
        return ""
    return "" if not issuer or trusted.permits(issuer) else Reason.UNTRUSTED_ISSUER


def _judge(
    trusts: Sequence[Trust], case: Case, wanted: Wanted, answers: Answers, trusted: TrustedIssuers | None
) -> Grant | Refusal | Consult | Rejected:
    """Return the verdict of the service, if the issuer's key had signed these claims."""
    issuer = case.claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        return Rejected(Reason.CLAIM, "iss is missing or not a string")
    if trusted is not None and trusted.mode == "enforce" and not trusted.permits(issuer):
        return Rejected(Reason.UNTRUSTED_ISSUER, "the issuer is not among the trusted ones")
    if not trusts:
        return Rejected(Reason.UNKNOWN_ISSUER, "no policy names this issuer")
    able = [trust for trust in trusts if case.algorithm in trust.algorithms]
    if not able:
        return Rejected(Reason.ALGORITHM, "no policy of this issuer names the algorithm")
    token = assume_signed(case.claims, case.algorithm, case.now)
    if isinstance(token, Rejected):
        return token
    return decide(able, token, wanted, case.now, answers)


def usual_algorithm(trusts: Sequence[Trust]) -> str:
    """Return the algorithm to assume where only claims are known: RS256 if any of the trusts takes it."""
    taken = sorted({algorithm for trust in trusts for algorithm in trust.algorithms})
    return "RS256" if "RS256" in taken or not taken else taken[0]


def _as_if_in_time(case: Case) -> tuple[VerifiedToken | None, float]:
    """Return the token and the time to explain it at; that of its end, or beginning, if it is out of time."""
    token = assume_signed(case.claims, case.algorithm, case.now)
    if isinstance(token, VerifiedToken):
        return token, case.now
    if token.reason not in _OUT_OF_TIME:
        return None, case.now
    name = "exp" if token.reason is Reason.EXPIRED else "nbf" if token.reason is Reason.NOT_YET_VALID else "iat"
    moment = case.claims[name]
    assert isinstance(moment, int | float)  # noqa: S101 - that reason is only given for a number
    again = assume_signed(case.claims, case.algorithm, float(moment))
    return (again, float(moment)) if isinstance(again, VerifiedToken) else (None, case.now)


def _said_of_token(generation: Generation, case: Case, verdict: Verdict) -> str:
    if not isinstance(verdict, Rejected):
        return ""
    claims = case.claims
    match verdict.reason, claims.get("exp"), claims.get("nbf"), claims.get("iat"), claims.get("iss"):
        case (Reason.EXPIRED, int() | float() as exp, _, _, _):
            return f"expired {duration(case.now - exp)} ago; the checks below are as of then"
        case (Reason.NOT_YET_VALID, _, int() | float() as nbf, _, _):
            return f"valid only in {duration(nbf - case.now)}: do the clocks agree?"
        case (Reason.ISSUED_IN_FUTURE, _, _, int() | float() as iat, _):
            return f"issued {duration(iat - case.now)} in the future: do the clocks agree?"
        case (Reason.UNKNOWN_ISSUER, _, _, _, str() as issuer):
            return near_issuer(issuer, generation.trusts, _patterns(generation))
        case _:
            return ""


def _patterns(generation: Generation) -> Sequence[Pattern]:
    return [trust.issuer.pattern for trust in generation.families if trust.issuer.pattern is not None]


def _said_of_policy(wanted: str | None, policies: Sequence[Policy]) -> str:
    names = sorted(policy.name for policy in policies)
    if wanted is None or wanted in names or not names:
        return ""
    more = f", and {len(names) - _FEW_NAMES} more" if len(names) > _FEW_NAMES else ""
    return f"no policy is called {shown(wanted)}; for this issuer there are: {', '.join(names[:_FEW_NAMES])}{more}"


def _trace(policy: Policy, token: VerifiedToken, wanted: Wanted, now: float, answers: Answers) -> Trace:
    facts = facts_for(policy, token, wanted, now)
    steps = [_step(condition, condition.holds(facts), facts) for condition in policy.conditions]
    if policy.opa is not None:
        steps.append(_step(policy.opa, answers.get(policy.name), facts))
    return Trace(policy.name, tuple(steps), policy.bounds)


def _step(condition: Condition | OpaAllows, held: bool | None, facts: Facts) -> Step:  # noqa: FBT001 - an answer
    said = hint(condition, facts) if held is False else ""
    seen = observe(condition, facts)
    if isinstance(condition, OpaAllows) and held is not False:
        seen = msgspec.structs.replace(seen, actual="it does" if held else "not asked")
    return Step(condition.check, condition.rank, held, seen, said)


def _distance(trace: Trace, verdict: Verdict) -> tuple[bool, int, int]:
    """Order by how far the policy got, and then by how much is against it; first the one that the service names."""
    failed = [step.rank for step in trace.steps if step.held is False]
    is_other = not isinstance(verdict, Refusal) or trace.policy != verdict.policy
    return (is_other, -failed[0], len(failed)) if failed else (is_other, -_BEYOND_ALL, 0)
