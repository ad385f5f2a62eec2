"""The audit event and its line: one line of ASCII, bounded, with what tells one workload from another and no more."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailsts.audit import CHOSEN_CLAIMS, UNVERIFIED_CLAIMS, Event, console_line, json_line, timestamp

TIME = "2026-11-24T10:20:30.456Z"

HOSTILE = {
    "delete": "a\x7fb",
    "newline": "a\nb",
    "carriage return": "a\r\nb",
    "nul": "a\x00b",
    "ansi": "\x1b[2J\x1b]0;owned\x07",
    "one byte csi": "a\x9b31mb",
    "next line": "a\x85b",
    "line separator": "a\u2028b\u2029c",
    "right to left": "a\u202eb",
    "json": '","outcome":"granted","x":"\\',
    "emoji": "\U0001f600",
    "accents": "\u00e9",
}


def event(claims: dict[str, object] | None = None, user_agent: str = "curl/8", **members: Any) -> Event:  # noqa: ANN401 - members are of several types
    """Return an event about a verified token with these claims, tidied, and these members filled in afterwards."""
    made = Event(TIME, "d1", "g1", "192.0.2.1:5000", user_agent)
    made.claims = claims or {}
    made.verified = True
    made.tidy()
    made.verified = False
    for name, value in members.items():
        setattr(made, name, value)
    return made


def one_line(line: bytes) -> str:
    """Return the text of what must be one line of ASCII without any control character."""
    text = line.decode("ascii")
    assert text.endswith("\n")
    assert not {character for character in text[:-1] if character < " " or character == "\x7f"}
    return text


def written(of: Event) -> dict[str, Any]:
    """Return the event as it stands in the audit log."""
    value: dict[str, Any] = json.loads(one_line(json_line(of)))
    # The line for people ends in the same.
    assert one_line(console_line(of)).endswith(" " + json_line(of).decode())
    return value


def test_a_whole_event() -> None:
    """All members of an event, in their order, as they stand in the log."""
    whole = event(
        {"iss": "https://issuer.example.com", "sub": "repo:acme/infra", "aud": "sts", "run_id": "42"},
        level="info",
        outcome="granted",
        reason="granted",
        detail="d",
        verified=True,
        policy="infra",
        requested_scopes=("dns", "users"),
        granted_scopes=("dns",),
        token_sha256="ab12",
        undelivered=True,
        keys_ms=0.5,
        verify_ms=0.25,
        decide_ms=0.125,
        opa_ms=3.5,
        claim_ms=1.5,
        mint_ms=40.5,
        record_ms=7.5,
    )
    assert json_line(whole) == (
        b'{"event":"exchange","time":"2026-11-24T10:20:30.456Z","decision":"d1","generation":"g1",'
        b'"peer":"192.0.2.1:5000","user_agent":"curl/8","level":"info","outcome":"granted","reason":"granted",'
        b'"detail":"d","verified":true,"issuer":"https://issuer.example.com","subject":"repo:acme/infra",'
        b'"claims":{"aud":"sts","run_id":"42"},"policy":"infra","requested_scopes":["dns","users"],'
        b'"granted_scopes":["dns"],"token_sha256":"ab12","undelivered":true,'
        b'"keys_ms":0.5,"verify_ms":0.25,"decide_ms":0.125,"opa_ms":3.5,"claim_ms":1.5,"mint_ms":40.5,'
        b'"record_ms":7.5}\n'
    )


def test_l02_a_stranger_fills_no_disk() -> None:
    """L-02: of a token that nobody verified, and of endless scopes, little is kept."""
    made = Event(TIME, "d1", "g1", "192.0.2.1:5000", "x" * 1000)
    made.claims = dict.fromkeys(CHOSEN_CLAIMS | {"iss", "sub"}, "x" * 1000)
    made.requested_scopes = tuple(f"{number:03d}{'x' * 125}" for number in range(100))
    made.tidy()
    assert made.claims.keys() == UNVERIFIED_CLAIMS
    assert made.requested_scopes[-1] == "... and 80 more"
    assert len(json_line(made)) < 6000


def test_what_holds_nothing_is_left_out() -> None:
    """An event that ended early says nothing of what was not reached, times of stages included."""
    assert json_line(event()) == (
        b'{"event":"exchange","time":"2026-11-24T10:20:30.456Z","decision":"d1","generation":"g1",'
        b'"peer":"192.0.2.1:5000","user_agent":"curl/8"}\n'
    )


def test_times_are_in_whole_microseconds() -> None:
    """The times of the stages come with three digits, whatever the clock gave."""
    made = event()
    made.keys_ms, made.verify_ms, made.decide_ms, made.mint_ms = 1.23456, 0.0999, 12.0, 9999.99999
    made.claim_ms, made.record_ms = 1.00049, 0.0
    made.tidy()
    assert [made.keys_ms, made.verify_ms, made.decide_ms, made.mint_ms] == [1.235, 0.1, 12.0, 10000.0]
    assert (made.claim_ms, b"record_ms" in json_line(made)) == (1.0, False)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_l02_one_event_is_one_line(text: str) -> None:
    """L-02: what a stranger writes into a token or a header field breaks no line and is kept as it was."""
    kept = {"aud": [text], "jti": text, "kubernetes.io": {text: {"pod": [text]}}}
    members = written(event({"iss": text, "sub": text, **kept}, user_agent=text))
    assert (members["issuer"], members["subject"], members["user_agent"]) == (text, text, text)
    assert members["claims"] == kept


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=256))
def test_l02_any_text(text: str) -> None:
    """L-02: the same holds for every text."""
    members = written(event({"iss": "i" + text[:255], "sub": "s" + text[:255], "aud": text}))
    assert (members["issuer"], members["subject"]) == ("i" + text[:255], "s" + text[:255])
    assert members["claims"] == {"aud": text}


@pytest.mark.parametrize("character", ["x", "\n", "\u2028", "\U0001f600"])
def test_l02_a_mebibyte(character: str) -> None:
    """L-02: a subject of 1 MiB, and whatever else is as large, is cut to 256 characters, and one can see that."""
    large = character * 2**20
    members = written(event({"iss": large, "sub": large, "ref": large}, user_agent=large))
    cut = character * 256 + "..."
    found = (members["user_agent"], members["issuer"], members["subject"], members["claims"])
    assert found == (cut, cut, cut, {"ref": cut})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256 + "..."),
        (["x" * 508], ["x" * 508]),
        (["x" * 509], '["' + "x" * 254 + "..."),
        ({"a": {"b": ["c", 1, None, True, 1.5]}}, {"a": {"b": ["c", 1, None, True, 1.5]}}),
        ({"a": ["x"] * 1000}, '{"a":' + ('["x"' + ',"x"' * 250)[:251] + "..."),
        ([[]] * 1000, ("[[]" + ",[]" * 250)[:256] + "..."),
        (["\u2028" * 100], '["' + "\\u2028" * 42 + "\\u..."),
        (True, True),
        (None, None),
        (2**63, 2**63),
        (1.5, 1.5),
    ],
)
def test_l02_claims_are_bounded(value: object, kept: object) -> None:
    """L-02: a claim is kept as it is up to its limit; a structure beyond it becomes the beginning of its text."""
    assert written(event({"aud": value}))["claims"] == {"aud": kept}


def test_l02_the_whole_line_is_bounded() -> None:
    """L-02: a token that fills each claim with the costliest text makes a line of some kilobytes for each claim."""
    names = [*GITHUB, *GITLAB, "iss", "sub", "email", "kubernetes.io", "terraform_run_id", "pipeline_slug"]
    line = json_line(event(dict.fromkeys(names, "\U0001f600" * 2**16), user_agent="\U0001f600" * 2**16))
    assert len(line) < 4096 * len(names)


def test_l02_scopes_are_bounded() -> None:
    """L-02: scopes are a stranger's words as well, verified or not, and are cut like any other text."""
    made = event()
    made.requested_scopes = ("dns", "x" * 10_000)
    made.tidy()
    assert written(made)["requested_scopes"] == ["dns", "x" * 256 + "..."]


GITHUB = {
    "jti": "1",
    "aud": "https://sts.example.com",
    "iat": 1,
    "nbf": 1,
    "exp": 2,
    "ref": "refs/heads/main",
    "repository": "acme/infra",
    "repository_id": "74",
    "workflow_ref": "acme/infra/.github/workflows/w.yml@refs/heads/main",
    "job_workflow_ref": "acme/infra/.github/workflows/w.yml@refs/heads/main",
    "environment": "prod",
    "event_name": "push",
    "actor": "octocat",
    "run_id": "99",
    "run_attempt": "2",
}
GITLAB = {
    "namespace_id": "1",
    "project_id": "2",
    "project_path": "acme/infra",
    "pipeline_id": "3",
    "job_id": "4",
    "ref_protected": "true",
}


@pytest.mark.parametrize("claims", [GITHUB, GITLAB, {"azp": "1", "email": "a@example.com"}])
def test_chosen_claims(claims: dict[str, object]) -> None:
    """What tells one run of a workload from another is kept as it came."""
    assert written(event(claims))["claims"] == claims


@pytest.mark.parametrize(
    "name", ["password", "secret", "access_token", "at_hash", "nonce", "name", "phone_number", "groups", "Aud", "cnf"]
)
def test_other_claims(name: str) -> None:
    """What nobody chose is left out: a claim may hold a secret, or tell of a person."""
    assert "claims" not in written(event({name: "hunter2"}))


@pytest.mark.parametrize("value", [None, 5, True, ["a"], {"a": "b"}])
def test_issuers_and_subjects_that_are_no_texts(value: object) -> None:
    """An issuer or a subject that is no text is none, and is not kept among the claims either."""
    members = written(event({"iss": value, "sub": value, "aud": "sts"}))
    assert {"issuer", "subject"} & members.keys() == set()
    assert members["claims"] == {"aud": "sts"}


@pytest.mark.parametrize(
    ("members", "claims", "headline"),
    [
        (
            {"level": "info", "outcome": "granted", "reason": "granted", "policy": "infra", "verified": True},
            {"sub": "repo:acme/infra"},
            f"{TIME} [info   ] granted reason=granted policy=infra subject=repo:acme/infra ",
        ),
        (
            {"level": "info", "outcome": "rejected", "reason": "bad_signature"},
            {"sub": "a b"},
            f'{TIME} [info   ] rejected reason=bad_signature unverified_subject="a b" ',
        ),
        (
            {"level": "warning", "outcome": "unavailable", "reason": "keys_unavailable", "policy": "p q"},
            {"sub": 'x"\n\u2028'},
            f'{TIME} [warning] unavailable reason=keys_unavailable policy="p q" unverified_subject="x\\"\\n\\u2028" ',
        ),
        (
            {"level": "error", "outcome": "fault", "reason": "tailscale_answer"},
            {},
            f"{TIME} [error  ] fault reason=tailscale_answer ",
        ),
    ],
)
def test_console_line(members: dict[str, Any], claims: dict[str, object], headline: str) -> None:
    """For people: what they look for first, with a stranger's words marked and quoted, and then the whole event."""
    made = event(claims, **members)
    assert one_line(console_line(made)) == headline + json_line(made).decode()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1795515630.5, "2026-11-24T10:20:30.500Z"),
        (1795515630.0625, "2026-11-24T10:20:30.062Z"),
        (1795515630.9996, "2026-11-24T10:20:30.999Z"),
        (951782399.0, "2000-02-28T23:59:59.000Z"),
        (951782400.0, "2000-02-29T00:00:00.000Z"),
        (4102444800.0, "2100-01-01T00:00:00.000Z"),
    ],
)
def test_timestamps(seconds: float, text: str) -> None:
    """RFC 3339, UTC, three digits, never rounded up into another second."""
    assert timestamp(seconds) == text
