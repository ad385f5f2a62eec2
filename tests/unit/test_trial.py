"""Tests of policies: how they are read, what they come to, and what they leave untested."""

import json
from typing import Any

import pytest

from fakes.judging import ISSUER, NOW, policy
from tailsts.errors import FileError
from tailsts.fixtures import fixture
from tailsts.policy.decide import Wanted
from tailsts.policy.finding import Page
from tailsts.policy.model import Policy, assemble
from tailsts.policy.trial import DEFAULT_LIFETIME, Outcome, Trial, read_trials, run, untested
from tailsts.policy.trusted import TrustedIssuers

FILES = {"good.json": b'{"iss": "https://i", "sub": "s"}', "list.json": b"[1]", "broken.json": b"{"}
OPA = "http://127.0.0.1:8181/v1/data/tailsts/allow"
START = 'name = "t"\nexpect = "deny"\nscopes = ["x"]\n'


def named(name: str) -> bytes:
    """Return a named file."""
    if name not in FILES:
        raise FileError("cannot be read: No such file or directory")
    return FILES[name]


def read(text: str) -> tuple[list[Trial], list[tuple[str, str, int | None]]]:
    """Return the tests in a text, and code, key and line of what is wrong with them."""
    page = Page("p.test.toml", text)
    trials = read_trials(page, named)
    assert not (trials and page.findings)
    return trials, [(finding.code, finding.path, finding.line) for finding in page.findings]


def trial(expect: str = "allow", **changes: Any) -> Trial:  # noqa: ANN401 - fields of a Trial
    """Return a test with the usual token."""
    usual: dict[str, Any] = {
        "name": "t",
        "file": "p.test.toml",
        "line": 1,
        "claims": {"iss": ISSUER, "sub": "s", "aud": "a"},
        "wanted": Wanted(("x",)),
        "expect": expect,
    }
    return Trial(**{**usual, **changes})


def tried(one: Trial, *policies: Policy, trusted: TrustedIssuers | None = None) -> Outcome:
    """Run one test under these policies, or the usual one."""
    return run(one, assemble(policies or [policy()], "d"), NOW, trusted)


def test_everything_that_can_be_said() -> None:
    """Each key of a test is read, with the line of the test."""
    text = """
[[test]]
name = "main"
claims = { iss = "https://i", sub = "s", list = [1, "a", { b = true }], f = 1.5 }
scopes = ["x", "y", "x"]
tags = ["tag:a"]
request_policy = "p"
expect = "allow"
policy = "p"
algorithm = "ES256"
now = 2026-01-01T00:00:00Z
opa = true
keys_of = "q"

[[ "test" ]]
name = "other"
claims_file = "good.json"
scopes = ["x"]
expect = "deny"
reason = "subject_not_allowed"
claims.sub = "t"
"""
    trials, faults = read(text)
    assert faults == []
    assert trials == [
        Trial(
            name="main",
            file="p.test.toml",
            line=2,
            claims={"iss": "https://i", "sub": "s", "list": [1, "a", {"b": True}], "f": 1.5},
            wanted=Wanted(("x", "y"), ("tag:a",), "p"),
            expect="allow",
            policy="p",
            algorithm="ES256",
            now=1_767_225_600.0,
            opa=True,
            keys_of="q",
        ),
        Trial(
            name="other",
            file="p.test.toml",
            line=15,
            claims={"iss": "https://i", "sub": "t"},
            wanted=Wanted(("x",)),
            expect="deny",
            reason="subject_not_allowed",
        ),
    ]


def test_tests_in_one_array() -> None:
    """Tests that are written as an array have no line of their own."""
    trials, faults = read('test = [{ name = "t", expect = "deny", scopes = ["x"], claims = {} }]')
    assert faults == []
    assert [(each.line, dict(each.claims)) for each in trials] == [(None, {})]


def test_a_fixture() -> None:
    """A fixture gives the claims of a real token: its times are those of the test, or of the run."""
    trials, _ = read(
        f'[[test]]\n{START}fixture = "github"\n[[test]]\n{START}fixture = "github"\nnow = 2026-01-01T00:00:00Z\n'
    )
    shape = fixture("github").claims
    assert trials[0].claims == {name: value for name, value in shape.items() if name not in {"iat", "nbf", "exp"}}
    assert trials[1].claims.keys() == shape.keys()
    assert trials[1].claims["iat"] == 1_767_225_600


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", [("syntax", "", 1)]),
        ("", [("missing", "test", None)]),
        ("test = 1", [("type", "test", 1)]),
        ("test = [1]", [("type", "test", 1)]),
        (f"x = 1\n[[test]]\n{START}claims = {{}}\n", [("unknown-key", "x", 1)]),
        (
            "\n[[test]]\n",
            [
                ("missing", "test 1.name", 2),
                ("missing", "test 1.expect", 2),
                ("missing", "test 1.scopes", 2),
                ("missing", "test 1.claims", 2),
            ],
        ),
        (f"[[test]]\n{START}claims = {{}}\nclaim = 1\n", [("unknown-key", "test 1.claim", 1)]),
        (f"[[test]]\n{START}claims = 1\n", [("type", "test 1.claims", 1), ("missing", "test 1.claims", 1)]),
        (
            f"[[test]]\n{START}claims = {{ exp = 2026-01-01T00:00:00Z }}\n",
            [("type", "test 1.claims", 1), ("missing", "test 1.claims", 1)],
        ),
        (
            f"[[test]]\n{START}claims = {{ a = [nan] }}\n",
            [("type", "test 1.claims", 1), ("missing", "test 1.claims", 1)],
        ),
        (
            f'[[test]]\n{START}fixture = "github"\nclaims_file = "good.json"\n',
            [("contradiction", "test 1.fixture", 1)],
        ),
        (f'[[test]]\n{START}fixture = "githup"\n', [("fixture", "test 1.fixture", 1)]),
        (f'[[test]]\n{START}claims_file = "none.json"\n', [("named-file", "test 1.claims_file", 1)]),
        (f'[[test]]\n{START}claims_file = "list.json"\n', [("named-file", "test 1.claims_file", 1)]),
        (f'[[test]]\n{START}claims_file = "broken.json"\n', [("named-file", "test 1.claims_file", 1)]),
        (
            '[[test]]\nname = "t"\nexpect = "yes"\nscopes = ["x"]\nclaims = {}\n',
            [("expect", "test 1.expect", 1)],
        ),
        (
            '[[test]]\nname = "t"\nexpect = "allow"\nreason = "x"\nscopes = ["x"]\nclaims = {}\n',
            [("contradiction", "test 1.reason", 1)],
        ),
        (f"[[test]]\n{START}claims = {{}}\nnow = 1\n", [("time", "test 1.now", 1)]),
        (f'[[test]]\n{START}claims = {{}}\nopa = "yes"\n', [("type", "test 1.opa", 1)]),
        (
            f"[[test]]\n{START}claims = {{}}\n[[test]]\n{START}claims = {{}}\nx = 1\n",
            [("unknown-key", "test 2.x", 6)],
        ),
    ],
)
def test_faults(text: str, expected: list[tuple[str, str, int | None]]) -> None:
    """What is wrong with a test is told with the line at which the test begins, and then no test counts."""
    trials, faults = read(text)
    assert trials == []
    assert faults == expected


def test_passed() -> None:
    """A test passes whose expectation comes true: allowed or denied, by the policy and for the reason named."""
    other: dict[str, object] = {"iss": ISSUER, "sub": "t", "aud": "a"}
    for passing in (
        trial(),
        trial(policy="p"),
        trial("deny", claims=other),
        trial("deny", claims=other, reason="subject_not_allowed"),
        trial("deny", claims=other, policy="p", reason="subject_not_allowed"),
        trial("deny", claims={}, reason="claim_invalid"),
    ):
        assert tried(passing).fault == ""


@pytest.mark.parametrize(
    ("one", "fault"),
    [
        (trial("deny"), "expected a denial, but policy p allows it"),
        (trial(policy="q"), "expected policy q to allow it, but policy p does"),
        (trial(claims={"iss": ISSUER, "sub": "t"}), "expected it to be allowed, but it is denied: subject_not_allowed"),
        (trial(claims={}), "expected it to be allowed, but it is denied: claim_invalid"),
        (trial("deny", wanted=Wanted(("z",)), policy="q"), "expected policy q to come nearest, but p does"),
        (trial("deny", claims={}, policy="q"), "expected policy q to come nearest, but none does"),
        (
            trial("deny", wanted=Wanted(("z",)), reason="subject_not_allowed"),
            "expected the reason subject_not_allowed, but it is scope_not_allowed",
        ),
    ],
)
def test_failed(one: Trial, fault: str) -> None:
    """A test fails whose expectation does not come true, and says what came instead."""
    outcome = tried(one)
    assert (outcome.fault, outcome.trial) == (fault, one)


def test_what_an_agent_is_taken_to_say() -> None:
    """Where an agent must agree a test says what it does; nobody is asked."""
    asking = policy(opa_url=OPA)
    assert tried(trial(), asking).fault == "policy p asks an Open Policy Agent: say opa = true or opa = false"
    assert tried(trial(opa=True), asking).fault == ""
    assert tried(trial("deny", opa=False, reason="opa_not_allowed"), asking).fault == ""


def test_times() -> None:
    """The iat and exp are those of the run unless the test says them; `now` is the time of the test."""
    limited = policy(max_lifetime=DEFAULT_LIFETIME, max_age=1)
    assert tried(trial(), limited).fault == ""
    assert tried(trial(now=1_000_000_000.0), limited).fault == ""
    old: dict[str, object] = {"iss": ISSUER, "sub": "s", "aud": "a", "iat": NOW - 5, "exp": NOW + 60}
    assert tried(trial("deny", claims=old, reason="age_not_allowed"), limited).fault == ""
    assert tried(trial("deny", claims=old, now=NOW + 9000, reason="expired"), limited).fault == ""


def test_algorithms() -> None:
    """A test's token has the usual algorithm of its issuer, or the one that it names."""
    modern = policy(algorithms=frozenset({"ES256"}))
    assert tried(trial(), modern).fault == ""
    assert tried(trial("deny", algorithm="RS256", reason="algorithm_refused"), modern).fault == ""


def test_the_allow_list() -> None:
    """Tests run under the allow-list that the service has."""
    elsewhere = TrustedIssuers("enforce", frozenset({"https://other"}))
    assert tried(trial("deny", reason="untrusted_issuer"), trusted=elsewhere).fault == ""


def test_untested() -> None:
    """Policies that no test is allowed by, and those that no test is denied by, are named."""
    policies = [policy("a"), policy("b", subject="t"), policy("c", subject="u", opa_url=OPA)]
    generation = assemble(policies, "d")
    of_t: dict[str, object] = {"iss": ISSUER, "sub": "t", "aud": "a"}
    outcomes = [
        run(each, generation, NOW)
        for each in (trial(), trial("deny", claims=of_t, wanted=Wanted(("z",))), trial("deny", claims={}))
    ]
    assert untested(generation, []) == (["a", "b", "c"], ["a", "b", "c"])
    assert untested(generation, outcomes) == (["b", "c"], ["a", "c"])


def test_claims_from_a_file_are_json() -> None:
    """A claims file is read as strictly as a token is."""
    FILES["twice.json"] = b'{"sub": "a", "sub": "b"}'
    assert json.loads(FILES["twice.json"])
    _, faults = read(f'[[test]]\n{START}claims_file = "twice.json"\n')
    assert faults == [("named-file", "test 1.claims_file", 1)]
