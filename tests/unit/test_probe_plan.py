"""Files of probes: what they say, and every fault of them."""

from pathlib import PurePath

import pytest

from tailsts.policy.decide import Wanted
from tailsts.policy.finding import Page
from tailsts.probing.answers import BY_REASON, Told
from tailsts.probing.plan import MAX_PROBES, Plan, Probe, TokenSource, read_plan

GOOD = 'name = "p"\ntoken_env = "TOKEN"\nscopes = ["a"]\nexpect = "allow"\n'
DENY = GOOD.replace("allow", "deny")


def read(*probes: str, top: str = "") -> tuple[Plan | None, list[tuple[str, str, int | None]]]:
    """Return the plan of these probes, and code, key and line of what is wrong."""
    page = Page("folder/probes.toml", top + "".join(f"[[probe]]\n{probe}" for probe in probes))
    plan = read_plan(page)
    assert (plan is None) == bool(page.findings)
    return plan, [(finding.code, finding.path, finding.line) for finding in page.findings]


def test_all_that_can_be_said() -> None:
    """A probe says where its token is, what is asked for, and what must come of it; its file is beside the plan's."""
    text = (
        'name = "p"\ntoken_file = "ci.jwt"\nscopes = ["a", "b", "a"]\ntags = ["tag:ci"]\npolicy = "infra"\n'
        'tampered = true\nexpect = "deny"\nreason = "invalid_token"\n'
    )
    plan, faults = read(text, top='server = "https://sts.example.com"\n')
    wanted = Wanted(("a", "b"), ("tag:ci",), "infra")
    token = TokenSource(PurePath("folder/ci.jwt"))
    probe = Probe("p", token, wanted, Told(401, "invalid token"), tampered=True)
    assert (plan, faults) == (Plan("https://sts.example.com", (probe,)), [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD, Told(200, "")),
        (DENY, Told(403, "")),
        (DENY + "status = 401\n", Told(401, "")),
        (DENY + 'reason = "scope_not_allowed"\n', Told(403, "denied: scopes not allowed")),
        (DENY + 'reason = "scopes not allowed"\n', Told(403, "denied: scopes not allowed")),
        (DENY + 'reason = "denied: scopes not allowed"\nstatus = 403\n', Told(403, "denied: scopes not allowed")),
        (DENY + 'reason = "rate_limited"\n', Told(429, "too many requests")),
        (DENY + 'reason = "in other words"\n', Told(403, "in other words")),
        (DENY + 'reason = "missing scopes"\nstatus = 400\n', Told(400, "missing scopes")),
    ],
)
def test_what_must_come_of_it(text: str, told: Told) -> None:
    """A denial is a 403, so that a token that is not believed is none, unless a reason or a status says otherwise."""
    plan, _ = read(text)
    assert plan is not None
    assert [probe.told for probe in plan.probes] == [told]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", [("missing", "name"), ("token", "token_file"), ("missing", "scopes"), ("missing", "expect")]),
        (GOOD + 'token_file = "x"\n', [("token", "token_file")]),
        (GOOD.replace('"TOKEN"', '"eyJ.a.b"'), [("token", "token_env")]),
        (GOOD.replace('token_env = "TOKEN"', 'token_file = "a\\nb"'), [("token", "token_file")]),
        (GOOD.replace("allow", "maybe"), [("expect", "expect")]),
        (GOOD + 'reason = "replayed"\nstatus = 403\n', [("contradiction", "reason"), ("contradiction", "status")]),
        (DENY + 'reason = "scopes_not_allowed"\n', [("reason", "reason")]),
        (DENY + 'reason = "unknown_issuer"\n', [("reason", "reason")]),
        (DENY + 'reason = "replayed"\nstatus = 401\n', [("contradiction", "status")]),
        (DENY + "status = 200\n", [("status", "status")]),
        (DENY + "status = true\n", [("status", "status")]),
        (DENY + 'status = "403"\nreason = "x_y"\n', [("status", "status"), ("reason", "reason")]),
        (DENY + 'scope = "x"\nxyz = 1\n', [("unknown-key", "scope"), ("unknown-key", "xyz")]),
        (GOOD + "tampered = 1\n", [("type", "tampered")]),
    ],
)
def test_faults(text: str, faults: list[tuple[str, str]]) -> None:
    """Each fault of a probe is noted on the line where the probe begins."""
    _, found = read(text)
    assert found == [(code, f"probe 1.{key}", 1) for code, key in faults]


def test_names_are_told_apart() -> None:
    """No two probes have one name, and there is a bound to how many they are."""
    assert read(GOOD, GOOD)[1] == [("name", "probe 2.name", 6)]
    many = [GOOD.replace('"p"', f'"{number}"') for number in range(MAX_PROBES + 1)]
    assert read(*many[1:])[1] == []
    assert read(*many)[1] == [("probe", "probe", 1)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "missing"),
        ("probe = 1", "type"),
        ("probe = []", "empty"),
        ("x", "syntax"),
        (f'server = "sts.example.com"\n[[probe]]\n{GOOD}', "server"),
        (f'server = "https://me:secret@x"\n[[probe]]\n{GOOD}', "server"),
        (f"sever = 1\n[[probe]]\n{GOOD}", "unknown-key"),
    ],
)
def test_faults_of_the_file(text: str, code: str) -> None:
    """A file without probes, of another form, or with a server that cannot be one is a fault."""
    page = Page("probes.toml", text)
    assert read_plan(page) is None
    assert [finding.code for finding in page.findings] == [code]
    assert "secret" not in str(page.findings[0])


def test_advice() -> None:
    """Near misses of keys and reasons are proposed; a reason that callers never learn gets the list."""
    page = Page("p.toml", f'[[probe]]\n{DENY}tamperd = true\nreason = "scopes_not_allowed"\n')
    read_plan(page)
    assert [finding.advice for finding in page.findings] == [
        "did you mean scope_not_allowed?",
        "did you mean tampered?",
    ]
    page = Page("p.toml", f'[[probe]]\n{DENY}reason = "opaque"\nzzz = 1\n')
    read_plan(page)
    assert page.findings[0].advice == f"known: {', '.join(sorted(BY_REASON))}"
    assert page.findings[1].advice.startswith("known: expect, name, policy, ")
