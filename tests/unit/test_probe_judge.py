"""What came of a probe against what was expected, and that the answers are those of the server."""

import pytest

from fakes.issuer import Issuer
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.outcome import Decision, Outcome, Withheld
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal, Wanted
from tailsts.probing.answers import BY_REASON, Told
from tailsts.probing.judge import Came, NoAnswer, NotAsked, Result, Round, Said, fault_of
from tailsts.probing.plan import Probe, TokenSource
from tailsts.server.wire import answer

DECISION = "0123456789abcdef0123"
NOW = 1_800_000_000.0
DENIED = Told(403, "denied: scopes not allowed")


def judged(told: Told, came: Came, token: str = "a.b.c") -> str:
    """Return why it is not as expected."""
    return fault_of(Probe("p", TokenSource(variable="T"), Wanted(("a",), (), None), told), came, token, NOW)


def told_by_the_server(outcome: Outcome) -> Told:
    """Return what callers are told of an outcome."""
    answered = answer(Decision(DECISION, outcome))
    return Told(answered.status, answered.text.removesuffix(f" (decision {DECISION})\n"))


def test_reasons_are_those_of_the_server() -> None:
    """Each reason that a probe can name stands for the answer that the server gives for it, and none is left out."""
    refusals = {Refusal(check).reason: told_by_the_server(Refusal(check)) for check in Check}
    withheld = {
        "replayed": told_by_the_server(Withheld("replayed")),
        "rate_limited": told_by_the_server(Withheld("rate_limited", 5)),
    }
    rejected = {"invalid_token": told_by_the_server(Rejected(Reason.EXPIRED, ""))}
    assert {**refusals, **withheld, **rejected} == BY_REASON


@pytest.mark.parametrize(
    ("told", "came"),
    [
        (Told(200, ""), Said(200, "granted")),
        (Told(403, ""), Said(403, "denied: subject not allowed", DECISION)),
        (DENIED, Said(403, "denied: scopes not allowed", DECISION)),
        (Told(403, "scopes not allowed"), Said(403, "denied: scopes not allowed", DECISION)),
        (Told(401, ""), Said(401, "invalid token", DECISION)),
        # Before there is a decision there is no id of one.
        (Told(429, "too many requests"), Said(429, "too many requests")),
        (Told(503, ""), Said(503, "temporarily unavailable, try again later", DECISION)),
    ],
)
def test_as_expected(told: Told, came: Said) -> None:
    """Status and, if one is expected, message decide."""
    assert judged(told, came) == ""


@pytest.mark.parametrize(
    ("told", "came", "fault"),
    [
        (Told(403, ""), Said(200, "granted"), "expected 403, but the server answered 200: a token was handed out"),
        (DENIED, Said(503, "x"), "expected 403: denied: scopes not allowed, but the server answered 503: x"),
        (Told(200, ""), Said(503, "x"), "expected 200 (a token was handed out), but the server answered 503: x"),
        (DENIED, Said(403, "x", DECISION), "expected 403: denied: scopes not allowed, but the server said: x"),
        (
            DENIED,
            Said(403, DENIED.message),
            "403 without a decision id: something answered that is no TailSTS, like a proxy before it",
        ),
        (Told(403, ""), NoAnswer("refused"), "no answer: refused"),
        (Told(503, ""), NoAnswer("refused"), "no answer: refused"),
        (Told(403, ""), NotAsked("token_env T is not set"), "token_env T is not set"),
    ],
)
def test_not_as_expected(told: Told, came: Came, fault: str) -> None:
    """Neither an outage nor a missing token nor somebody else's denial is a denial of the server."""
    assert judged(told, came) == fault


def test_why_a_token_is_not_believed() -> None:
    """Where a token is not believed, which the server does not explain, what can be seen of it is said."""
    issuer, came = Issuer("https://i"), Said(401, "invalid token", DECISION)
    usual = "expected 403, but the server answered 401: invalid token"
    assert judged(Told(403, ""), came, issuer.token(exp=int(NOW) - 60)) == f"{usual}; the token expired 60 s ago"
    assert judged(Told(403, ""), came, issuer.token(exp=int(NOW) + 60)) == usual
    assert judged(Told(403, ""), came, issuer.token(exp="soon")) == usual
    assert judged(Told(403, ""), came, "no.token").startswith(f"{usual}; the token cannot be read: ")
    assert judged(Told(401, ""), came, issuer.token(exp=1)) == ""


def test_what_a_round_comes_to() -> None:
    """A round is unreachable if all that failed got no answer: a wrong answer is worse."""
    probe = Probe("p", TokenSource(variable="T"), Wanted(("a",), (), None), Told(200, ""))
    good = Result(probe, Said(200, "granted"), 0.1, "")
    away = Result(probe, NoAnswer("x"), 0.1, "no answer: x")
    wrong = Result(probe, Said(403, "x"), 0.1, "y")
    rounds = [Round(results, NOW) for results in ([good], [good, away], [good, away, wrong])]
    assert [(each.failed, each.unreachable) for each in rounds] == [(0, False), (1, True), (2, False)]
    assert [result.status for result in (good, away, wrong)] == [200, 0, 403]
