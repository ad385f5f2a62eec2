"""Patterns of issuers: a closed host, and slashes in their places."""

import pytest

from tailsts.policy.issuers import refuse_issuer
from tailsts.policy.patterns.issuer_pattern import IssuerPatternFault, refuse_issuer_pattern
from tailsts.policy.patterns.pattern import compile_pattern

UUID = "0b54b4a9-7a5e-41bc-9f6e-1d8a7f3b2c10"


@pytest.mark.parametrize(
    ("text", "issuer"),
    [
        (r"https://oidc\.circleci\.com/org/[0-9a-f-]{36}", f"https://oidc.circleci.com/org/{UUID}"),
        (
            r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[0-9A-F]{32}",
            f"https://oidc.eks.eu-west-1.amazonaws.com/id/{'0A' * 16}",
        ),
        (r"https://[0-9a-f-]{36}\.tokens\.sts\.global\.api\.aws", f"https://{UUID}.tokens.sts.global.api.aws"),
        (r"https://token\.actions\.[a-z0-9-]+\.ghe\.com", "https://token.actions.acme.ghe.com"),
        (
            r"https://login\.microsoftonline\.com/(tid-a|tid-b)/v2\.0",
            "https://login.microsoftonline.com/tid-a/v2.0",
        ),
        (r"https://sts\.windows\.net/[0-9a-f-]{36}/", f"https://sts.windows.net/{UUID}/"),
        (r"https://oidc\.fly\.io/[a-z0-9-]+", "https://oidc.fly.io/acme"),
        (r"^https://oidc\.fly\.io/[a-z0-9-]+$", "https://oidc.fly.io/acme"),
        (r"https://[a-z]+-x\.example\.com:8443/a", "https://q-x.example.com:8443/a"),
        (r"https://x[.]example[.]com[/](a|b)", "https://x.example.com/a"),
        (r"(?:https://x)\.example\.com", "https://x.example.com"),
        (r"https://gitlab/(a|b)", "https://gitlab/a"),
        (r"https://\[::1\]:1/(a|b)", "https://[::1]:1/a"),
        (r"https://x\.y/a[.]?b", "https://x.y/a.b"),
        (r"https://[a-z]+\.acme\.github\.io", "https://q.acme.github.io"),
        (r"https://x\.y", "https://x.y"),
    ],
)
def test_accepted(text: str, issuer: str) -> None:
    """The patterns that issuers with many names need are accepted, and match what they are for."""
    assert refuse_issuer_pattern(text) is None
    assert refuse_issuer(issuer) is None
    assert compile_pattern(text).matches(issuer)


NEARLY_ANY = "it has a dot, or a class of all but some, which matches nearly any character"
SLASH = "a part of it that varies can match a slash"
NO_START = "it does not start with a plain https://"
OPEN = "what varies in its host is not below a fixed name, so the host may be anybody's"
NOT_A_HOST = "its host is not a host name"
EMPTY_SEGMENT = "a part of its path may be empty, or dots alone"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (r"https://\pL+\.x\.y", "it uses syntax that is not read in a pattern of issuers"),
        (r"https://\Qa.b.c\E", "it uses syntax that is not read in a pattern of issuers"),
        (r"http://x\.y\.z", NO_START),
        (r"https?://x\.y\.z", NO_START),
        (r"(https://)+x\.y\.z", NO_START),
        (r"[a-z]+://x\.y\.z", NO_START),
        (r"https://x\.y\.z|https://.*", NO_START),
        (".*", NO_START),
        ("a", NO_START),
        (r"https://[^/]+\.y\.z", NEARLY_ANY),
        (r"https://x.y\.z", NEARLY_ANY),
        (r"https://x\.y\.z/.*", NEARLY_ANY),
        (r"https://x\.y\.z/(a|.)", NEARLY_ANY),
        (r"https://x\.y\.z/\D+", NEARLY_ANY),
        (r"https://x\.y\.z(/a)?", SLASH),
        (r"https://x\.y\.z/[a-z/]+", SLASH),
        (r"https://x\.y\.z/[+-9]+", SLASH),
        (r"https://x\.y\.z/(a|b/c)", SLASH),
        (r"https://x\.y\.z/+a", SLASH),
        (r"https://x\.y\.z/{1}a", SLASH),
        (r"https://[a-z]+[/]?\.y\.z", SLASH),
        (r"https://[a-z]+\.com", OPEN),
        (r"https://[a-z]+example\.com", OPEN),
        (r"https://x\.y\.z[a-z]*", OPEN),
        (r"https://x\.y\.[a-z]+", OPEN),
        (r"https://[a-z]+", OPEN),
        (r"https://[0-9]+\.0\.0\.1", OPEN),
        (r"https://[a-z]+\.x\.y\.", OPEN),
        (r"https://\[[a-f0-9]+\]", OPEN),
        (r"https://[a-z-]+\.co\.uk", "everybody can have a name below co.uk"),
        (r"https://[a-z-]+\.github\.io/x", "everybody can have a name below github.io"),
        (r"https://acme-[a-z]+\.s3\.amazonaws\.com", "everybody can have a name below s3.amazonaws.com"),
        (r"https://[a-z.]+\.y\.z", "what varies in its host can match '.'"),
        (r"https://(a|b\.c)\.y\.z", "what varies in its host can match '.'"),
        (r"https://[a-z@]+\.y\.z", "what varies in its host can match '@'"),
        (r"https://[a-z%]+\.y\.z", "what varies in its host can match '%'"),
        (r"https://x:[a-z]+(@)?\.y\.z", NOT_A_HOST),
        (r"https://x(:80)?\.y\.z", "what varies in its host can match ':'"),
        (r"https://[\w]+\.y\.z", "what varies in its host can match 'A'"),
        (r"https://[a-z]*\.y\.z", "a label of its host may be empty"),
        (r"https://x\.(a|)\.y\.z", "a label of its host may be empty"),
        (r"https://[a-z]+\.y\.z:[0-9]+", NOT_A_HOST),
        (r"https://x\.y\.z:8[0-9]", NOT_A_HOST),
        (r"https://x\.y\.z\\[a-z]+", NOT_A_HOST),
        (r"https://x\.y\.z:0", "its port is not a number"),
        (r"https://[a-z]+-\.y\.z", NOT_A_HOST),
        ("https://", NOT_A_HOST),
        (r"https://[a-z]+@y\.z", "it holds a user name or a password"),
        (r"https://x\.y\.z/[a-z]+\?a", "it has a query or a fragment"),
        (r"https://x\.y\.z//[a-z]+", "its path holds empty, dot or encoded parts"),
        (r"https://x\.y\.z/\.\./[a-z]+", "its path holds empty, dot or encoded parts"),
        (
            r"https://X\.y\.z",
            "scheme and host are written in lower case, as the tokens have them; upper case can never match",
        ),
        (r"https://x\.y\.z/[a-z]*", EMPTY_SEGMENT),
        (r"https://x\.y\.z/[a-z.]+", EMPTY_SEGMENT),
        (r"https://x\.y\.z/\.[a-z]?/a", EMPTY_SEGMENT),
        (r"https://x\.y\.z/[a-z#]+", "what varies in its path can match '#'"),
        (r"https://x\.y\.z/[a-z?]+", "what varies in its path can match '?'"),
        (r"https://x\.y\.z/[a-z%]+", "what varies in its path can match '%'"),
        (r"https://x\.y\.z/[a-z@]+", "what varies in its path can match '@'"),
        (r"https://x\.y\.z/a/\s", r"what varies in its path can match '\t'"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What leaves its host open, or lets a part that varies out of its place, is refused with the reason."""
    compile_pattern(text)
    fault = refuse_issuer_pattern(text)
    assert fault is not None
    assert reason == fault.reason
    assert fault.advice


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (r"https://x.y\.z", r"write \. for a dot, and a class, such as [a-z0-9-]+, for what varies"),
        (r"https://[a-z]+\.com", r"end the host in at least two plain labels, such as \.example\.com"),
        (r"https://x\.y\.z/(a/)?", "write each slash plainly, outside of classes, groups and repeats"),
        (r"https://[a-z]*\.y\.z", "write + in place of *"),
    ],
)
def test_advice(text: str, advice: str) -> None:
    """A refusal says how to write it."""
    fault = refuse_issuer_pattern(text)
    assert isinstance(fault, IssuerPatternFault)
    assert advice == fault.advice
