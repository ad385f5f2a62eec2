"""Why a request is allowed or denied: the verdict that the service would give, and beside it every check. Pure.

The verdict comes from `decide`, as everywhere; what is added asks the same conditions again and writes down the
answers. Offline: that the issuer's key signed the claims is assumed.
"""

from collections.abc import Mapping, Sequence

import msgspec

from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.verify import VerifiedToken, assume_signed
from tailsts.policy.condition import Check, Condition, Facts, OpaAllows
from tailsts.policy.decide import NO_ANSWERS, Answers, Consult, Grant, Refusal, Wanted, decide, facts_for
from tailsts.policy.hints import duration, hint, near_issuer
from tailsts.policy.model import Generation, Policy, Trust
from tailsts.policy.observe import Observation, observe, shown
from tailsts.policy.trusted import TrustedIssuers

Verdict = Grant | Refusal | Consult | Rejected

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
    wanted: Wanted
    now: float


class Step(msgspec.Struct, frozen=True):
    """One check of a policy, and its `rank` among all. `held` is None for an Open Policy Agent that was not asked."""

    check: Check
    rank: int
    held: bool | None
    seen: Observation
    hint: str = ""


class Trace(msgspec.Struct, frozen=True):
    """Every check of one policy, in order."""

    policy: str
    steps: tuple[Step, ...]

    @property
    def held(self) -> bool:
        """Whether no check failed."""
        return all(step.held is not False for step in self.steps)


class Explanation(msgspec.Struct, frozen=True):
    """The verdict, what is said of the token itself, and the policies of its issuer, the nearest first."""

    verdict: Verdict
    hint: str
    traces: tuple[Trace, ...]

    @property
    def allowed(self) -> bool:
        """Whether the service would mint a token; where an Open Policy Agent must agree, if it does."""
        return isinstance(self.verdict, Grant | Consult)

    @property
    def reason(self) -> str:
        """The reason code that the audit log would have."""
        match self.verdict:
            case Rejected(reason=reason):
                return reason
            case Refusal():
                return self.verdict.reason
            case _:
                return "granted"


def explain(
    generation: Generation, case: Case, answers: Answers = NO_ANSWERS, trusted: TrustedIssuers | None = None
) -> Explanation:
    """Explain a case under these policies. `answers` are those of Open Policy Agents, by policy."""
    issuer = case.claims.get("iss")
    trusts = generation.trusts_of(issuer) if isinstance(issuer, str) else ()
    verdict = _judge(trusts, case, answers, trusted)
    policies = [policy for trust in trusts for policy in trust.policies]
    said = _said_of_token(generation, case, verdict) or _said_of_policy(case.wanted.policy, policies)
    if case.wanted.policy is not None:
        policies = [policy for policy in policies if policy.name == case.wanted.policy]
    token, now = _as_if_in_time(case)
    if token is None:
        return Explanation(verdict, said, ())
    traces = [_trace(policy, token, case.wanted, now, answers) for policy in policies]
    ordered = tuple(sorted(traces, key=_distance))
    return Explanation(verdict, said, ordered)


def _judge(trusts: Sequence[Trust], case: Case, answers: Answers, trusted: TrustedIssuers | None) -> Verdict:
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
    return decide(able, token, case.wanted, case.now, answers)


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
            return near_issuer(issuer, generation.trusts)
        case _:
            return ""


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
    return Trace(policy.name, tuple(steps))


def _step(condition: Condition | OpaAllows, held: bool | None, facts: Facts) -> Step:  # noqa: FBT001 - an answer
    said = hint(condition, facts) if held is False else ""
    seen = observe(condition, facts)
    if isinstance(condition, OpaAllows) and held is not False:
        seen = msgspec.structs.replace(seen, actual="it does" if held else "not asked")
    return Step(condition.check, condition.rank, held, seen, said)


def _distance(trace: Trace) -> tuple[int, int]:
    """Order by how far the policy got, and then by how much is against it."""
    failed = [step.rank for step in trace.steps if step.held is False]
    return (-failed[0], len(failed)) if failed else (-_BEYOND_ALL, 0)
