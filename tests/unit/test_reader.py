"""Values of a policy's table: what is taken, and what is said of the rest."""

import pytest

from fakes.policies import policy
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.parse import parse, read_toml
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.rate import Rate
from tailsts.policy.reader import Reader

I = "https://issuer.example.com"  # noqa: E741 - short, for the table
GITHUB = "https://token.actions.githubusercontent.com"
PATTERN = r"https://[a-z0-9]+\.gitlab\.example\.com"
Place = tuple[str, str, int | None]


def family(**keys: object) -> str:
    """Return the text of a policy that names no issuer, and its keys by discovery."""
    return policy(I, **{"jwks_url": None, **keys}).partition("\n")[2]


def read(text: str) -> tuple[Draft | None, list[Finding]]:
    """Parse a text."""
    page = Page("p.toml", text)
    return parse("p", page), page.findings


def draft_of(text: str) -> Draft:
    """Parse a text that is a policy."""
    draft, findings = read(text)
    assert draft is not None, findings
    return draft


def faults(text: str) -> list[Place]:
    """Return code, key and line of each fault; a text with faults gives no draft."""
    draft, findings = read(text)
    assert draft is None
    assert all(finding.severity is Severity.FAULT for finding in findings)
    return [(finding.code, finding.path, finding.line) for finding in findings]


def test_claims() -> None:
    """Claims are read by their path, each value with its type; a list is any of its values, each once."""
    text = policy(I) + (
        '[claims]\nref = "main"\nn = 1\nflag = true\nhalf = 0.5\nany = ["a", "b", 1, true, 1.0, "a"]\n'
        '"a.b" = "dotted"\n[claims."kubernetes.io"]\nnamespace = "ci"\nserviceaccount.name = "x"\n'
    )
    claims = draft_of(text).claims
    assert repr(claims) == repr(
        (
            (("ref",), ("main",)),
            (("n",), (1,)),
            (("flag",), (True,)),
            (("half",), (0.5,)),
            (("any",), ("a", "b", 1, True, 1.0)),
            (("a.b",), ("dotted",)),
            (("kubernetes.io", "namespace"), ("ci",)),
            (("kubernetes.io", "serviceaccount", "name"), ("x",)),
        )
    )


def test_a_claim_may_be_an_empty_text() -> None:
    """Issuers send empty claims, so an empty text is a value as others."""
    assert draft_of(policy(I) + '[claims]\nbase_ref = ""\n').claims == ((("base_ref",), ("",)),)


def test_patterns_and_the_rest() -> None:
    """Every further key is read."""
    text = policy(
        I,
        subject=None,
        audience=None,
        subject_pattern="repo:o/[a-z]+:.*",
        audience_pattern="https://[a-z]+",
        condition="claims.x == 1",
        allowed_tags=["tag:b", "tag:a"],
        tailnet="prod",
        max_age="5m",
        single_use=True,
        rate_limit="60/minute",
    ) + (
        "not_before = 2026-01-01T00:00:00Z\nnot_after = 2026-01-01T02:00:00+01:00\n"
        '[claim_patterns]\nref = "v[0-9]+"\n[claim_patterns.deep]\nx = "y"\n[opa]\nurl = "http://127.0.0.1:8181/v1/data/x"\n'
    )
    draft = draft_of(text)
    assert (draft.subject_pattern, draft.audience_pattern) == (
        compile_pattern("repo:o/[a-z]+:.*"),
        compile_pattern("https://[a-z]+"),
    )
    assert draft.claim_patterns == ((("ref",), compile_pattern("v[0-9]+")), (("deep", "x"), compile_pattern("y")))
    assert draft.condition == compile_expression("claims.x == 1")
    assert (draft.allowed_tags, draft.tailnet, draft.max_age) == (frozenset({"tag:a", "tag:b"}), "prod", 300)
    assert (draft.single_use, draft.rate_limit) == (True, Rate(60, 60))
    assert (draft.not_before, draft.not_after) == (1_767_225_600.0, 1_767_229_200.0)
    assert draft.opa_url == "http://127.0.0.1:8181/v1/data/x"


def test_an_issuer_pattern() -> None:
    """Issuers by a pattern stand in place of the issuer."""
    draft = draft_of(family(issuer_pattern=PATTERN))
    assert (draft.issuer, draft.issuer_pattern) == ("", compile_pattern(PATTERN))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claims = 1\n", [("type", "claims", 7)]),
        ("[claims]\n", [("empty", "claims", 7)]),
        ("[claims]\niss = 'x'\n", [("claim", "claims.iss", 8)]),
        ("[claims]\nsub = 'x'\naud = 'y'\n", [("claim", "claims.sub", 8), ("claim", "claims.aud", 9)]),
        (
            "[claims]\nexp = 1\niat = 1\nnbf = 1\n",
            [("claim", f"claims.{n}", at) for at, n in ((8, "exp"), (9, "iat"), (10, "nbf"))],
        ),
        ("[claims]\nx = []\n", [("empty", "claims.x", 8)]),
        ("[claims]\nx = {}\n", [("empty", "claims.x", 8)]),
        ("[claims]\nx = 2026-01-01\n", [("type", "claims.x", 8)]),
        ("[claims]\nx = [['a']]\n", [("type", "claims.x", 8)]),
        ("[claims]\nx = [{ a = 1 }]\n", [("type", "claims.x", 8)]),
        ("[claims]\nx = nan\n", [("type", "claims.x", 8)]),
        ("[claims]\nx = ['a', inf]\n", [("type", "claims.x", 8)]),
        (f"[claims]\nx = '{'y' * 1025}'\n", [("length", "claims.x", 8)]),
        ("[claims]\na.b.c.d.e.f.g.h.i = 1\n", [("claim", "claims.a.b.c.d.e.f.g.h", 8)]),
        ("claim_patterns = 1\n", [("type", "claim_patterns", 7)]),
        ("[claim_patterns]\n", [("empty", "claim_patterns", 7)]),
        ("[claim_patterns]\nx = 1\n", [("type", "claim_patterns.x", 8)]),
        ("[claim_patterns]\nx = ['a']\n", [("type", "claim_patterns.x", 8)]),
        ("[claim_patterns]\nx = 'a)|('\n", [("pattern", "claim_patterns.x", 8)]),
        ("[claim_patterns]\niss = '.*'\n", [("claim", "claim_patterns.iss", 8)]),
        ("[claims]\nx = 1\n[claim_patterns]\nx = 'a'\n", [("contradiction", "claim_patterns", 9)]),
        ("condition = 1\n", [("type", "condition", 7)]),
        ("condition = 'claims.x'\n", [("condition", "condition", 7)]),
        ("condition = '('\n", [("condition", "condition", 7)]),
        ("subject_pattern = 'x'\n", [("contradiction", "subject_pattern", 7)]),
        ("audience_pattern = 'x'\n", [("contradiction", "audience_pattern", 7)]),
        ("allowed_tags = ['ci']\n", [("tag", "allowed_tags", 7)]),
        ("allowed_tags = []\n", [("empty", "allowed_tags", 7)]),
        ("not_before = 1\n", [("time", "not_before", 7)]),
        ("not_after = '2026-01-01T00:00:00Z'\n", [("time", "not_after", 7)]),
        ("not_after = 2026-01-01T00:00:00\n", [("time", "not_after", 7)]),
        (
            "not_before = 2026-01-02T00:00:00Z\nnot_after = 2026-01-02T00:00:00Z\n",
            [("never", "not_after", 8)],
        ),
        ("max_age = 0\n", [("duration", "max_age", 7)]),
        ("single_use = 1\n", [("type", "single_use", 7)]),
        ("rate_limit = 60\n", [("type", "rate_limit", 7)]),
        ("rate_limit = '0/minute'\n", [("rate", "rate_limit", 7)]),
        ("rate_limit = '60/week'\n", [("rate", "rate_limit", 7)]),
        ("opa = 1\n", [("type", "opa", 7)]),
        ("[opa]\n", [("missing", "opa.url", 7)]),
        ("[opa]\nurl = 1\n", [("type", "opa.url", 8)]),
        ("[opa]\nurl = 'http://opa.example.com/'\n", [("opa-url", "opa.url", 8)]),
        ("[opa]\nurl = 'https://opa.example.com/'\nurk = 1\n", [("unknown-key", "opa.urk", 9)]),
    ],
)
def test_faults(text: str, expected: list[Place]) -> None:
    """P-11, P-13: each thing that is wrong with the further keys is said at its line."""
    assert faults(policy(I) + text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (policy(I, issuer_pattern=PATTERN, jwks_url=None), [("contradiction", "issuer_pattern", 6)]),
        (family(issuer_pattern=PATTERN, jwks_url=f"{I}/jwks"), [("contradiction", "jwks_url", 4)]),
        (
            family(issuer_pattern=PATTERN, allow_http=True, jwks_file="x"),
            [("contradiction", "jwks_file", 7), ("contradiction", "allow_http", 6)],
        ),
        (family(issuer_pattern="https://.*"), [("issuer-pattern", "issuer_pattern", 5)]),
        (family(issuer_pattern="("), [("pattern", "issuer_pattern", 5)]),
        (family(issuer_pattern=1), [("type", "issuer_pattern", 5)]),
        (policy(I, subject_pattern="x", subject=None, any_subject=True), [("contradiction", "any_subject", 7)]),
        (policy(I, subject=None, subject_pattern="(?i)x"), [("pattern", "subject_pattern", 6)]),
        (policy(I, subject=None, subject_pattern="x" * 257), [("pattern", "subject_pattern", 6)]),
        (policy(GITHUB + "/"), [("issuer", "issuer", 1)]),
        (policy(GITHUB, subject=None), [("shared-issuer", "subject", None)]),
    ],
)
def test_p03_p08_p10_forms(text: str, expected: list[Place]) -> None:
    """P-03, P-08, P-10: never both forms of one thing, no broken pattern, and nobody's issuer for everybody."""
    assert sorted(faults(text)) == sorted(expected)


@pytest.mark.parametrize(
    "text",
    [
        "subject_pattern = 'repo:o/r:.*'\n",
        "condition = 'claims.x == 1'\n",
        "[claims]\nx = 1\n",
        "[claim_patterns]\nx = 'y'\n",
    ],
)
def test_p10_a_shared_issuer_is_narrowed_by_any_of_these(text: str) -> None:
    """P-10: with a pattern, claims or a condition a policy of a shared issuer says whom it means."""
    assert draft_of(policy(GITHUB, subject=None) + text).asks_who()


def test_a_policy_that_asks_for_nobody() -> None:
    """A policy that says nothing of the token beyond issuer and audience is known as such."""
    assert not draft_of(policy(I, subject=None)).asks_who()


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("sub", "did you mean subject?"),
        ("AUD", "did you mean audience?"),
        ("ttl", "did you mean max_lifetime?"),
        ("tags", "did you mean allowed_tags?"),
        ("subject_patern", "did you mean subject_pattern?"),
    ],
)
def test_what_was_meant(key: str, advice: str) -> None:
    """A key as other services, or the token, call it leads to the right one; never to one that opens a door."""
    _, findings = read(policy(I) + f"{key} = 'x'\n")
    assert [found.advice for found in findings] == [advice]
    _, findings = read(policy(I) + "any_subjects = true\n")
    assert "any_subject?" not in findings[0].advice


def test_numbers_beyond_python() -> None:
    """A number with more digits than Python reads is a syntax fault, not an exception."""
    page = Page("p.toml", "x = " + "1" * 5000)
    assert read_toml(page) is None
    assert [found.message for found in page.findings] == ["not TOML: a number with too many digits"]


def test_json_tables() -> None:
    """A table whose values JSON has too is taken whole, and nothing else is."""
    page = Page("p.toml", "")
    table = {"good": {"a": [1, "x", {"b": True}], "c": 1.5}, "bad": {"a": [float("inf")]}, "none": {"x": None}}
    reader = Reader(table, page)
    assert reader.json_table("good") == table["good"]
    assert [reader.json_table(key) for key in ("bad", "none", "missing")] == [None] * 3
    assert [found.path for found in page.findings] == ["bad", "none"]


def test_all_faults_of_a_file_at_once() -> None:
    """A text with many faults is told all of them."""
    text = policy(I, subject=1, allowed_tags=["x"]) + "[claims]\nsub = 'x'\n[opa]\nx = 1\n"
    assert {code for code, _, _ in faults(text)} == {"type", "tag", "claim", "missing", "unknown-key"}
