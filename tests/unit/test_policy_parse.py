"""Policy files: what loads, and every fault with its place."""

import pytest

from fakes.policies import policy
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Finding, Page, Severity, line_of
from tailsts.policy.judging.judge import judge
from tailsts.policy.parse import parse

SEED = """\
issuer = "http://localhost:8888"          # the token's iss, exact
algorithm = "RS256"                       # the token's alg; a name or a list; RS256 if absent
subject = "test"                          # optional: the token's sub, exact; absent: not looked at
jwks_url = "http://localhost:8888/jwks"
allowed_scopes = ["acls", "devices:read"]
"""


def read(text: str) -> tuple[Draft | None, list[Finding]]:
    """Parse a text."""
    page = Page("p.toml", text)
    return parse("p", page), page.findings


def faults(text: str) -> list[tuple[str, str, int | None]]:
    """Return code, key and line of each fault; a text with faults gives no draft."""
    draft, findings = read(text)
    assert (draft is None) == bool(findings)
    assert all(finding.severity is Severity.FAULT for finding in findings)
    return [(finding.code, finding.path, finding.line) for finding in findings]


def warnings(text: str, *, server_audience: bool = False) -> list[tuple[Severity, str]]:
    """Return severity and code of each warning about a valid text."""
    page = Page("p.toml", text)
    draft = parse("p", page)
    assert draft is not None, page.findings
    judge(draft, page, server_audience=server_audience)
    return [(finding.severity, finding.code) for finding in page.findings]


def test_the_seed_format_loads_unchanged() -> None:
    """A policy of the first Go program is read as it is."""
    draft, findings = read(SEED)
    assert findings == []
    assert draft == Draft(
        name="p",
        issuer="http://localhost:8888",
        algorithms=frozenset({"RS256"}),
        subject="test",
        any_subject=False,
        audiences=frozenset(),
        allowed_scopes=frozenset({"acls", "devices:read"}),
        max_lifetime=86400,
        description="",
        jwks_url="http://localhost:8888/jwks",
        jwks_file=None,
        ca_file=None,
        allow_http=False,
    )


def test_everything_that_can_be_said() -> None:
    """Each key is read."""
    text = policy(
        "https://issuer.example.com",
        algorithm=["ES256", "EdDSA"],
        audience=["a", "b"],
        subject=None,
        any_subject=True,
        max_lifetime="36h",
        description="for tests",
        ca_file="ca.pem",
        allow_http=True,
    )
    draft, findings = read(text)
    assert findings == []
    assert draft is not None
    assert draft.algorithms == {"ES256", "EdDSA"}
    assert draft.audiences == {"a", "b"}
    assert draft.any_subject
    assert draft.max_lifetime == 36 * 3600
    assert (draft.description, draft.ca_file, draft.allow_http) == ("for tests", "ca.pem", True)


def test_algorithm_is_rs256_if_absent() -> None:
    """The default algorithm is RS256 alone."""
    draft, _ = read(policy("https://issuer.example.com", algorithm=None))
    assert draft is not None
    assert draft.algorithms == {"RS256"}


@pytest.mark.parametrize(("value", "seconds"), [(90, 90), ("90s", 90), ("15m", 900), ("36h", 129_600), ("7d", 604_800)])
def test_durations(value: object, seconds: int) -> None:
    """A duration is whole seconds, or a number with a unit."""
    draft, _ = read(policy("https://issuer.example.com", max_lifetime=value))
    assert draft is not None
    assert draft.max_lifetime == seconds


I = "https://issuer.example.com"  # noqa: E741 - short, for the table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("missing", "issuer", None), ("missing", "allowed_scopes", None)]),
        (policy(I, subjet="x"), [("unknown-key", "subjet", 7)]),
        (policy(I, subject=1), [("type", "subject", 3)]),
        (policy(I, subject=True), [("type", "subject", 3)]),
        (policy(I, subject=["x"]), [("type", "subject", 3)]),
        (policy(I, subject=""), [("empty", "subject", 3)]),
        (policy(I, subject=" x"), [("blank", "subject", 3)]),
        (policy(I, subject="  "), [("empty", "subject", 3)]),
        (policy(I, subject="x" * 1025), [("length", "subject", 3)]),
        (policy(I, audience=[]), [("empty", "audience", 4)]),
        (policy(I, audience=[""]), [("empty", "audience", 4)]),
        (policy(I, audience=""), [("empty", "audience", 4)]),
        (policy(I, audience=1), [("type", "audience", 4)]),
        (policy(I, allowed_scopes="dns"), [("type", "allowed_scopes", 6)]),
        (policy(I, allowed_scopes=[]), [("empty", "allowed_scopes", 6)]),
        (policy(I, allowed_scopes=[""]), [("empty", "allowed_scopes", 6)]),
        (policy(I, allowed_scopes=[1]), [("type", "allowed_scopes", 6)]),
        (policy(I, allowed_scopes=["devices:read all"]), [("scope", "allowed_scopes", 6)]),
        (policy(I, allowed_scopes=["é"]), [("scope", "allowed_scopes", 6)]),
        (policy(I, allowed_scopes=['a"b']), [("scope", "allowed_scopes", 6)]),
        (policy(I, algorithm="HS256"), [("algorithm", "algorithm", 2)]),
        (policy(I, algorithm="none"), [("algorithm", "algorithm", 2)]),
        (policy(I, algorithm=["RS256", "rs256"]), [("algorithm", "algorithm", 2)]),
        (policy(I, algorithm=[]), [("empty", "algorithm", 2)]),
        (policy(I, any_subject="yes"), [("type", "any_subject", 7)]),
        (policy(I, any_subject=True), [("contradiction", "any_subject", 7)]),
        (policy(I, max_lifetime=0), [("duration", "max_lifetime", 7)]),
        (policy(I, max_lifetime=-1), [("duration", "max_lifetime", 7)]),
        (policy(I, max_lifetime="1w"), [("duration", "max_lifetime", 7)]),
        (policy(I, max_lifetime=True), [("duration", "max_lifetime", 7)]),
        (policy(I, max_lifetime="400d"), [("duration", "max_lifetime", 7)]),
        (policy(I) + "max_lifetime = 1.5\n", [("duration", "max_lifetime", 7)]),
        (policy(I) + "description = 2026-01-01\n", [("type", "description", 7)]),
        (policy(I) + "allow_http = nan\n", [("type", "allow_http", 7)]),
        (policy(I) + "description = {a = 1}\n", [("type", "description", 7)]),
        (policy(I, jwks_file="k.json"), [("contradiction", "jwks_file", 7)]),
        (policy(I, jwks_url=None, jwks_file="k.json", ca_file="c.pem"), [("contradiction", "ca_file", 7)]),
        (policy(I, jwks_url="http://issuer.example.com/"), [("jwks-url", "jwks_url", 5)]),
        (policy(I, jwks_url="file:///etc/passwd"), [("jwks-url", "jwks_url", 5)]),
        (policy("http://issuer.example.com", jwks_url=None), [("discovery", "issuer", 1)]),
        (policy("issuer.example.com"), [("issuer", "issuer", 1), ("jwks-url", "jwks_url", 5)]),
        (
            "issuer = 1\nalgorithm = 2\nsubject = 3\nallowed_scopes = 4\nx = 5\n",
            [
                ("type", "issuer", 1),
                ("type", "algorithm", 2),
                ("type", "subject", 3),
                ("type", "allowed_scopes", 4),
                ("unknown-key", "x", 5),
            ],
        ),
    ],
)
def test_p11_p13_faults(text: str, expected: list[tuple[str, str, int | None]]) -> None:
    """P-11, P-13: unknown keys, wrong types, empty values and contradictions: all of a file, each with its line."""
    assert faults(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("issuer = ", 1),
        ('issuer = "a"\nissuer = "b"\n', 2),
        ("[[[", 1),
        ("x = " + "[" * 20_000, None),
        ("\ufeffissuer = 1", 1),
        ("issuer = 'a'\n\0", 2),
    ],
)
def test_what_is_no_toml(text: str, line: int | None) -> None:
    """A file that is no TOML, or nested to overflow, is one fault with its line where that is known."""
    assert faults(text) == [("syntax", "", line)]


@pytest.mark.parametrize(
    "issuer",
    [
        "https://token.actions.githubusercontent.com",
        "https://gitlab.com",
        "https://accounts.google.com",
        "https://agent.buildkite.com",
        "https://oidc.circleci.com",
        "https://app.terraform.io",
    ],
)
def test_p10_shared_issuers(issuer: str) -> None:
    """P-10: from an issuer that serves everybody, a policy names the subject, or says that all are meant."""
    assert faults(policy(issuer, subject=None)) == [("shared-issuer", "subject", None)]
    assert faults(policy(issuer, subject=None, any_subject=True)) == []
    assert faults(policy(issuer)) == []


def test_unknown_keys_come_with_advice() -> None:
    """A mistyped key is told what it probably should be."""
    _, findings = read(policy(I, subjcet="x"))
    assert findings[0].advice == "did you mean subject?"
    _, findings = read(policy(I, zzz="x"))
    assert findings[0].advice.startswith("known: algorithm, allow_http")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (policy(I), ["escalating-scope", "companion-scopes"]),
        (policy(I, allowed_scopes=["dns:read"]), []),
        (policy(I, allowed_scopes=["dns:read"], audience=None), ["no-audience"]),
        (policy(I, allowed_scopes=["dns:read"], subject=None), ["no-subject"]),
        (policy(I, allowed_scopes=["dns:read"], subject=None, any_subject=True), []),
        (policy("http://localhost:8888", allowed_scopes=["dns:read"]), ["http-issuer"]),
        (policy(I, allowed_scopes=["dns:read"], allow_http=True), ["allow-http"]),
        (policy(I, allowed_scopes=["dns:read"], max_lifetime="2d"), ["long-lifetime"]),
        (policy(I, allowed_scopes=["all"]), ["open-ended-scope"]),
        (policy(I, allowed_scopes=["all:read"]), ["open-ended-scope"]),
        (policy(I, allowed_scopes=["acls", "devices:read"]), ["legacy-scope", "legacy-scope"]),
        (policy(I, allowed_scopes=["dns:write"]), ["unknown-scope"]),
        (policy(I, allowed_scopes=["auth_keys"]), ["scope-needs-tags"]),
        (policy(I, allowed_scopes=["oauth_keys"]), ["escalating-scope"]),
    ],
)
def test_p12_warnings(text: str, expected: list[str]) -> None:
    """P-12 and the rest: what a policy is warned about."""
    assert [code for _, code in warnings(text)] == expected


def test_severities() -> None:
    """What trusts more than it may mean to is a security warning; the rest is advice."""
    text = policy("http://localhost:8888", audience=None, subject=None, allow_http=True, allowed_scopes=["all", "acls"])
    severe = {code for severity, code in warnings(text) if severity is Severity.SECURITY}
    assert severe == {"no-audience", "no-subject", "http-issuer", "allow-http", "open-ended-scope"}
    mild = [code for severity, code in warnings(text, server_audience=True) if severity is Severity.ADVICE]
    assert mild == ["legacy-scope"]


def test_a_server_audience_is_enough() -> None:
    """A policy without audience is fine where the server names one for all."""
    assert warnings(policy(I, audience=None, allowed_scopes=["dns:read"]), server_audience=True) == []


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2\n", "b", 2),
        ('a = 1\n"b" = 2\n', "b", 2),
        ("a = 1\n  'b'=2\n", "b", 2),
        ("a = 1\n[b]\nc = 1\n", "b", 2),
        ("a = 1\n[[b]]\n", "b", 2),
        ("b.c = 1\n", "b", 1),
        ("a = 'b = 1'\n", "b", None),
        ("ab = 1\n", "b", None),
    ],
)
def test_lines(text: str, key: str, line: int | None) -> None:
    """A key is found on its line."""
    assert line_of(text, key) == line


def test_findings_are_one_line() -> None:
    """A finding is written as file, line, severity, key, message, advice and code."""
    finding = Finding(Severity.FAULT, "type", "p.toml", 3, "subject", "is a number, not a string", "quote it")
    assert str(finding) == "p.toml:3: fault: subject is a number, not a string (quote it) [type]"
    assert str(Finding(Severity.ADVICE, "x", "p.toml", None, "", "so so")) == "p.toml: advice: so so [x]"


@pytest.mark.parametrize(
    "pattern", [r"https://token\.actions\.githubusercontent\.com", r"https://[a-z]+\.actions\.githubusercontent\.com"]
)
def test_p10_a_pattern_that_matches_a_shared_issuer(pattern: str) -> None:
    """P-10: a shared issuer is one, however it is named: without anything about who asks, it is a fault."""
    text = f'issuer_pattern = \'{pattern}\'\naudience = "https://sts.example.com"\nallowed_scopes = ["dns:read"]\n'
    assert faults(text) == [("shared-issuer", "subject", None)]
    assert faults(text + "any_subject = true\n") == []


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, str(10**19), f"-{10**19}"])
def test_integers_that_no_token_can_hold(number: str) -> None:
    """An integer beyond nineteen digits, however it is written, is a fault: no token holds it, and no log shows it."""
    text = policy("https://issuer.example.com") + f"[claims]\nuser_id = {number}\n"
    assert [code for code, _, _ in faults(text)] == ["type"]
