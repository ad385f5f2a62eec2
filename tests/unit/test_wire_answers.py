"""Section 4 of the contract, without a socket: from a decision to the answer that the caller sees."""

from typing import get_args

import pytest

from fakes.judging import NOW, verified
from tailsts.credentials import AccessToken
from tailsts.errors import (
    AuditUnavailableError,
    KeysUnavailableError,
    OpaUnavailableError,
    TailscaleAnswerError,
    TailscaleUnavailableError,
)
from tailsts.oidc.rejected import Reason, Rejected
from tailsts.oidc.source import Discovery
from tailsts.outcome import (
    Decision,
    Malformed,
    Minted,
    Outcome,
    Withheld,
)
from tailsts.policy.build import build
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.condition import Check, Facts
from tailsts.policy.decide import Grant, Miss, Refusal
from tailsts.policy.draft import Draft
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.server.wire import Answer, answer, plain, turned_away

TEXT = ("content-type", "text/plain; charset=utf-8")
NO_STORE = ("cache-control", "no-store")
CHALLENGE = ("www-authenticate", "Bearer")
ID = "0123456789abcdef0123"
DECISION_ID = ("x-decision-id", ID)


def test_granted() -> None:
    """The answer to a granted request is the token and nothing else, not even a line feed."""
    minted = Minted(AccessToken("tskey-api-x", ("dns",), 3600), Grant("infra", ("dns",)))
    assert answer(Decision(ID, minted)) == Answer(200, [TEXT, NO_STORE, DECISION_ID], "tskey-api-x")


@pytest.mark.parametrize("reason", Reason)
def test_h05_before_verification_all_failures_look_alike(reason: Reason) -> None:
    """H-05: status, fields and text of every failure before verification are the same but for the decision id."""
    shown = answer(Decision(ID, Rejected(reason, "no policy names this issuer")))
    assert shown == Answer(401, [TEXT, NO_STORE, DECISION_ID, CHALLENGE], f"invalid token (decision {ID})\n")


TEXTS = {
    Check.POLICY: "denied: no such policy for this token",
    Check.SUBJECT: "denied: subject not allowed",
    Check.CLAIM: "denied: claims not allowed",
    Check.AUDIENCE: "denied: audience not allowed",
    Check.ALGORITHM: "denied: algorithm not allowed",
    Check.LIFETIME: "denied: lifetime of the token not allowed",
    Check.AGE: "denied: age of the token not allowed",
    Check.PERIOD: "denied: not allowed at this time",
    Check.SCOPE: "denied: scopes not allowed",
    Check.TAG: "denied: tags not allowed",
    Check.CONDITION: "denied: condition not met",
    Check.OPA: "denied: not allowed by Open Policy Agent",
}
# A policy whose every word is one that no answer may hold.
SECRET = Draft(
    name="hidden-name",
    issuer="https://i",
    algorithms=frozenset({"hidden-algorithm"}),
    subject="hidden-subject",
    subject_pattern=compile_pattern("hidden-subject.*"),
    audiences=frozenset({"hidden-audience"}),
    claims=((("hidden-claim",), ("hidden-value",)),),
    claim_patterns=((("hidden-other",), compile_pattern("hidden-pattern")),),
    condition=compile_expression("claims.x == 'hidden-condition'"),
    opa_url="http://127.0.0.1/hidden-agent",
    allowed_scopes=frozenset({"hidden-scope"}),
    allowed_tags=frozenset({"tag:hidden"}),
    max_lifetime=1,
    max_age=1,
    not_before=NOW + 1,
)


def misses() -> list[Miss]:
    """Return a miss at each condition of that policy."""
    found = build(SECRET, Discovery(), ())
    assert found.opa is not None
    facts = Facts(verified("s", {"own": "hidden from others"}), ("x",), ("tag:x",), NOW)
    return [Miss(found.name, condition, facts) for condition in (*found.conditions, found.opa)]


@pytest.mark.parametrize("check", Check)
@pytest.mark.parametrize("known", [True, False])
def test_h06_a_refusal_names_the_check_alone(check: Check, known: bool) -> None:
    """H-06: a verified caller learns which kind of check failed, and not at which policy."""
    shown = answer(Decision(ID, Refusal(check, tuple(misses()) if known else ())))
    assert shown == Answer(403, [TEXT, NO_STORE, DECISION_ID], f"{TEXTS[check]} (decision {ID})\n")


def test_h06_nothing_of_a_policy_is_in_an_answer() -> None:
    """H-06: whichever condition failed, and whether the policy was named, no word of it is in the answer."""
    found = misses()
    assert {miss.condition.check for miss in found} == set(Check) - {Check.POLICY}
    for miss in found:
        for named in (False, True):
            shown = answer(Decision(ID, Refusal(miss.condition.check, (miss, *found), named)))
            assert "hidden" not in repr(shown)
            assert shown.status == 403


def test_h06_every_check_has_its_words() -> None:
    """H-06: no check was added without words for it."""
    assert TEXTS.keys() == set(Check)


def test_a_named_policy_cannot_be_guessed() -> None:
    """Whoever names a policy that does not trust it cannot tell it from one that does not exist."""
    (first, *others) = (Check.POLICY, Check.SUBJECT, Check.CLAIM)
    expected = answer(Decision(ID, Refusal(first, (), named=True)))
    assert expected.text == f"denied: no such policy for this token (decision {ID})\n"
    for check in others:
        assert answer(Decision(ID, Refusal(check, tuple(misses()), named=True))) == expected
    shown = answer(Decision(ID, Refusal(Check.SCOPE, tuple(misses()), named=True)))
    assert shown.text == f"denied: scopes not allowed (decision {ID})\n"


def test_withheld() -> None:
    """A replay is denied for good; who asks too often is told when to come again."""
    shown = answer(Decision(ID, Withheld("replayed")))
    assert shown == Answer(403, [TEXT, NO_STORE, DECISION_ID], f"denied: the token was used already (decision {ID})\n")
    shown = answer(Decision(ID, Withheld("rate_limited", 7)))
    expected = [TEXT, NO_STORE, DECISION_ID, ("retry-after", "7")]
    assert shown == Answer(429, expected, f"too many requests (decision {ID})\n")


@pytest.mark.parametrize("status", [429, 503])
def test_turned_away(status: int) -> None:
    """Who is not looked at is told when to come again, and gets no decision."""
    shown = turned_away(status, 3)
    assert (shown.status, shown.headers) == (status, [TEXT, NO_STORE, ("retry-after", "3")])


@pytest.mark.parametrize(
    ("status", "extra"),
    [(400, []), (401, [CHALLENGE]), (405, [("allow", "POST")]), (408, []), (413, []), (415, []), (431, [])],
)
def test_malformed(status: int, extra: list[tuple[str, str]]) -> None:
    """What is no request is told why, with the fields that its status asks for."""
    shown = answer(Decision(ID, Malformed(status, "code", "what is wrong")))
    assert shown == Answer(status, [TEXT, NO_STORE, DECISION_ID, *extra], f"what is wrong (decision {ID})\n")


@pytest.mark.parametrize(
    "fault",
    [
        KeysUnavailableError("no keys of https://issuer.example.com: no answer in time", retry_after=7),
        TailscaleUnavailableError("Tailscale cannot be reached", retry_after=7),
        AuditUnavailableError("no space left on device", retry_after=7),
        OpaUnavailableError("the Open Policy Agent of policy infra", retry_after=7),
    ],
)
def test_unavailable(fault: Outcome) -> None:
    """An outage is 503 with Retry-After, and says nothing about what is out."""
    shown = answer(Decision(ID, fault))
    text = f"temporarily unavailable, try again later (decision {ID})\n"
    assert shown == Answer(503, [TEXT, NO_STORE, DECISION_ID, ("retry-after", "7")], text)


def test_a_wrong_answer_of_tailscale() -> None:
    """What Tailscale said wrongly is 502, and is told to the operator, not to the caller."""
    shown = answer(Decision(ID, TailscaleAnswerError("Tailscale does not accept the OAuth client's id and secret")))
    text = f"Tailscale did not give a usable answer (decision {ID})\n"
    assert shown == Answer(502, [TEXT, NO_STORE, DECISION_ID], text)


def test_every_kind_of_outcome_is_shown_here() -> None:
    """The kinds of outcome are those that the tests above know."""
    names = {kind.__name__ for kind in get_args(Outcome)}
    assert names == {"Minted", "Withheld", "Refusal", "Rejected", "Malformed", "ExchangeFault"}


@pytest.mark.parametrize("extra", [[], [("allow", "GET, HEAD")]])
def test_u10_other_answers(extra: list[tuple[str, str]]) -> None:
    """U-10: what is not about an exchange is plain text too, not to be stored, and open to no other origin."""
    assert plain(404, "not found", *extra) == Answer(404, [TEXT, NO_STORE, *extra], "not found\n")


def test_u10_no_answer_shares_its_fields_with_another() -> None:
    """U-10: a field that is added to one answer does not appear on the next one."""
    first = answer(Decision(ID, Rejected(Reason.EXPIRED, "")))
    first.headers.append(("access-control-allow-origin", "*"))
    assert answer(Decision(ID, Rejected(Reason.EXPIRED, ""))).headers == [TEXT, NO_STORE, DECISION_ID, CHALLENGE]
