"""What is said of a decision of the past, for each reason that no policy is to blame for."""

import json
from pathlib import Path

import pytest

from tailsts.cli.past import shown

DECISION = "f5ceb7f3a8f921095b16"
NO_POLICY = "no policy is for such a token"


def last_line(folder: Path, **members: object) -> str:
    """Return the last line of what is said of an event with these members."""
    log = folder / "audit.jsonl"
    event = {"event": "exchange", "time": "2026-11-24T18:00:00.000Z", "decision": DECISION, **members}
    log.write_text(json.dumps(event) + "\n")
    return shown(log, DECISION, as_json=False).rpartition("\n")[2]


@pytest.mark.parametrize(
    ("outcome", "reason", "said"),
    [
        ("refused", "replayed", "policy ci{0} allows it, but the token was used already, "),
        ("refused", "rate_limited", "policy ci{0} allows it, but this subject asked more often than "),
        ("unavailable", "state_unavailable", "policy ci{0} allows it, but could not be held to its bounds: "),
        ("unavailable", "audit_unavailable", "policy ci{0} allows it, but the audit log could not be written, "),
        ("unavailable", "tailscale_unavailable", "policy ci{0} allows it, but Tailscale could not give a token then"),
        ("fault", "tailscale_answer", "policy ci{0} allows it, but Tailscale gave no token that can be handed on"),
    ],
)
def test_what_a_policy_allows(tmp_path: Path, outcome: str, reason: str, said: str) -> None:
    """It is said that a policy allows it, which one, and why there was no token all the same."""
    assert last_line(tmp_path, outcome=outcome, reason=reason, policy="ci{0}").startswith(said)
    without = last_line(tmp_path, outcome=outcome, reason=reason)
    assert without.startswith(said.replace("policy ci{0}", "a policy"))


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("keys_unavailable", "it was not decided: without the issuer's keys "),
        ("opa_unavailable", "it was not decided: the Open Policy Agent "),
    ],
)
def test_what_was_not_decided(tmp_path: Path, reason: str, said: str) -> None:
    """Where nobody could tell, it is not said that anybody allows or refuses it."""
    assert last_line(tmp_path, outcome="unavailable", reason=reason).startswith(said)


def test_no_policy(tmp_path: Path) -> None:
    """That no policy is for such a token is said of verdicts of policies, and not of what a later version refuses."""
    assert last_line(tmp_path, outcome="refused", reason="subject_not_allowed").startswith(NO_POLICY)
    assert NO_POLICY not in last_line(tmp_path, outcome="refused", reason="moon")
    assert NO_POLICY not in last_line(tmp_path, outcome="fault", reason="internal", detail="KeyError")
