"""What is said of a policy that is nearly right leads to the right one, and whatever it says is one plain line."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.policies import policy
from tailsts.policy.finding import Finding, Page, Severity, line_of
from tailsts.policy.issuers import SHARED
from tailsts.policy.judging.judge import judge
from tailsts.policy.parse import parse

ISSUER = "https://issuer.example.com"
LINES_OF_THEIR_OWN = "\n\r\v\f\x1b\x85\u2028\u2029\u202e\ud800\0"


def findings(text: str) -> list[Finding]:
    """Return all that is said of a text."""
    page = Page("p.toml", text)
    draft = parse("p", page)
    if draft is not None:
        judge(draft, page, server_audience=False)
    return page.findings


def codes(text: str) -> list[tuple[Severity, str, str]]:
    """Return severity, code and key of each finding."""
    return [(finding.severity, finding.code, finding.path) for finding in findings(text)]


@pytest.mark.parametrize(
    "text",
    [
        " " * 40_000,
        "\t" * 40_000,
        " " * 20_000 + "[" * 20_000 + " " * 20_000,
        "\n".join([" " * 200] * 200),
        "x" + " " * 40_000 + "y",
        "\n" * 40_000,
    ],
    ids=["blanks", "tabs", "brackets", "many lines", "between", "empty lines"],
)
def test_p05_a_line_is_looked_for_once(text: str) -> None:
    """P-05: however many blanks a policy holds, the search for a key ends: its time grows with the text alone."""
    started = time.monotonic()
    assert line_of(text, "x") is None
    assert time.monotonic() - started < 2


@given(st.text(max_size=50) | st.text(LINES_OF_THEIR_OWN), st.text(max_size=50), st.text(max_size=50))
def test_l02_a_finding_is_one_plain_line(path: str, message: str, advice: str) -> None:
    """L-02: whatever keys and values a policy holds, what is said of them is one line that a terminal only shows."""
    shown = str(Finding(Severity.FAULT, "x", "p.toml", 1, path, message, advice))
    assert shown.isprintable()
    assert shown.startswith("p.toml:1: fault: ")
    assert shown.endswith(" [x]")


def test_l02_what_cannot_be_shown_is_escaped() -> None:
    """L-02: a character that is no text is written as an escape, and all others stay as they are."""
    finding = Finding(Severity.FAULT, "x", "p.toml", None, f"é{LINES_OF_THEIR_OWN}é", "is wrong")
    escapes = r"\n\r\x0b\x0c\x1b\x85\u2028\u2029\u202e\ud800\x00"
    assert str(finding) == f"p.toml: fault: é{escapes}é is wrong [x]"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("subjet", "subject"),
        ("subjects", "subject"),
        ("Subject", "subject"),
        ("sub", "subject"),
        ("iss", "issuer"),
        ("issure", "issuer"),
        ("aud", "audience"),
        ("AUD", "audience"),
        ("audiences", "audience"),
        ("alg", "algorithm"),
        ("algorithms", "algorithm"),
        ("scope", "allowed_scopes"),
        ("scopes", "allowed_scopes"),
        ("allowed-scopes", "allowed_scopes"),
        ("jwks_uri", "jwks_url"),
        ("ttl", "max_lifetime"),
        ("max_ttl", "max_lifetime"),
        ("descripton", "description"),
    ],
)
def test_p13_misspellings(key: str, meant: str) -> None:
    """P-13: a key that is mistyped, or named as elsewhere, is a fault that names the key that was meant."""
    (finding,) = findings(policy(ISSUER, allowed_scopes=["dns:read"]) + f"{json.dumps(key)} = 1\n")
    assert (finding.severity, finding.code, finding.path) == (Severity.FAULT, "unknown-key", key)
    assert finding.advice == f"did you mean {meant}?"


@pytest.mark.parametrize(
    "key",
    [
        "any_subjects",
        "any_subjct",
        "anysubject",
        "Any_Subject",
        "any",
        "subject_any",
        "allow_https",
        "allow-http",
        "allowhttp",
        "Allow_HTTP",
        "allow",
        "http",
    ],
)
def test_p13_no_advice_leads_to_more_trust(key: str) -> None:
    """P-13: nobody is led by a misspelling to the keys that trust everybody, or any network."""
    (finding,) = findings(policy(ISSUER, allowed_scopes=["dns:read"]) + f"{json.dumps(key)} = true\n")
    assert (finding.code, finding.path) == ("unknown-key", key)
    assert not finding.advice.startswith(("did you mean any_subject", "did you mean allow_http"))


@pytest.mark.parametrize("issuer", SHARED)
@pytest.mark.parametrize("subject", ["repo:acme/infra:ref:refs/heads/main", None])
def test_p10_n15_a_shared_issuer_with_a_slash(issuer: str, subject: str | None) -> None:
    """P-10, N-15: a slash at the end is not a way around the rule for issuers that serve everybody."""
    (finding,) = findings(policy(f"{issuer}/", subject=subject, jwks_url=None, allowed_scopes=["dns:read"]))
    assert finding == Finding(
        Severity.FAULT,
        "issuer",
        "p.toml",
        1,
        "issuer",
        "ends in a slash, which the tokens of this issuer do not have",
        f'write "{issuer}"',
    )


def test_n15_another_issuer_may_end_in_a_slash() -> None:
    """N-15: an issuer whose tokens do have the slash, as Auth0's, is written with it."""
    assert codes(policy(f"{ISSUER}/", jwks_url=f"{ISSUER}/jwks", allowed_scopes=["dns:read"])) == []


@pytest.mark.parametrize("subject", ["repo:acme/*", "*", "repo:acme/infra:ref:refs/heads/?", "repo:*:ref:x"])
def test_p06_p09_wildcards_are_none(subject: str) -> None:
    """P-06, P-09: a subject that looks like a pattern is told that it is compared as it stands."""
    assert codes(policy(ISSUER, subject=subject, allowed_scopes=["dns:read"])) == [
        (Severity.ADVICE, "wildcard", "subject")
    ]


@pytest.mark.parametrize(("subject", "code"), [(" x", "blank"), ("x ", "blank"), ("  ", "empty"), (1, "type")])
@pytest.mark.parametrize("issuer", ["https://gitlab.com", ISSUER])
def test_p10_a_bad_subject_is_one_fault(issuer: str, subject: object, code: str) -> None:
    """P-10: a subject that is there and wrong is said to be wrong, and not to be missing as well."""
    text = policy(issuer, subject=subject, jwks_url=None, allowed_scopes=["dns:read"])
    assert codes(text) == [(Severity.FAULT, code, "subject")]


@pytest.mark.parametrize(
    ("scope", "advice"),
    [
        ("dns:raed", "did you mean dns:read?"),
        ("dns_read", "did you mean dns:read?"),
        ("device:core:read", "did you mean devices:core:read?"),
        ("policyfile", "did you mean policy_file?"),
        ("zzz", "see tailscale.com/kb/1623"),
    ],
)
def test_p12_a_misspelt_scope(scope: str, advice: str) -> None:
    """P-12: a scope that Tailscale is not known to have comes with the one that was probably meant."""
    (finding,) = findings(policy(ISSUER, allowed_scopes=[scope]))
    message = f'holds "{scope}", which Tailscale is not known to have'
    assert finding == Finding(Severity.ADVICE, "unknown-scope", "p.toml", 6, "allowed_scopes", message, advice)


@pytest.mark.parametrize(
    ("value", "message"),
    [("9" * 5000, "a number with too many digits"), ("-" + "9" * 5000, "a number with too many digits")],
)
def test_p13_numbers_without_end(value: str, message: str) -> None:
    """P-13: a number that Python does not read is a fault of the syntax, whatever key holds it."""
    for key in ("max_lifetime", "x"):
        (finding,) = findings(f"{key} = {value}\n")
        assert (finding.code, finding.message) == ("syntax", f"not TOML: {message}")
