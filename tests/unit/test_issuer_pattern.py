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
        # Each has a path, at a host that is the service's own.
        (
            r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com/[A-Za-z0-9_-]+",
            "https://cognito-idp.eu-west-1.amazonaws.com/p",
        ),
        (
            r"https://container\.googleapis\.com/v1/projects/acme/locations/[a-z0-9-]+/clusters/[a-z0-9-]+",
            "https://container.googleapis.com/v1/projects/acme/locations/europe-west1/clusters/a",
        ),
        (
            r"https://[a-z]+\.oic\.prod-aks\.azure\.com/[0-9a-f-]+/[0-9a-f-]+/",
            "https://eastus.oic.prod-aks.azure.com/1/2/",
        ),
        (
            r"https://token\.actions\.githubusercontent\.com/[a-z0-9-]+",
            "https://token.actions.githubusercontent.com/acme",
        ),
        (r"https://api\.bitbucket\.org/2\.0/workspaces/[a-z]+/oidc", "https://api.bitbucket.org/2.0/workspaces/a/oidc"),
        # The bucket is the author's.
        (r"https://storage\.googleapis\.com/acme/[a-z]+", "https://storage.googleapis.com/acme/a"),
        (r"https://s3\.eu-west-1\.amazonaws\.com/acme/[a-z]+", "https://s3.eu-west-1.amazonaws.com/acme/a"),
        (r"https://acme\.github\.io/[a-z]+", "https://acme.github.io/a"),
        (r"https://[a-z]+\.acme\.up\.railway\.app", "https://a.acme.up.railway.app"),
        # A name of one's own network, and a domain of the first level.
        (r"https://dev/(a|b)", "https://dev/a"),
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
BELOW = "everybody can have a name below "
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
        (r"https://[a-z]+\.a\.run\.app", "everybody can have a name below a.run.app"),
        (
            r"https://[a-z]+\.s3\.us-east-1\.amazonaws\.com",
            "everybody can have a name below s3.us-east-1.amazonaws.com",
        ),
        (r"https://[a-z]+\.execute-api\.eu-west-1\.amazonaws\.com", BELOW + "execute-api.eu-west-1.amazonaws.com"),
        (r"https://[a-z]+\.lambda-url\.us-east-1\.on\.aws", BELOW + "lambda-url.us-east-1.on.aws"),
        (r"https://[a-z]+\.web\.core\.windows\.net", BELOW + "web.core.windows.net"),
        (r"https://[a-z]+\.storage\.googleapis\.com", BELOW + "storage.googleapis.com"),
        (r"https://[a-z]+\.up\.railway\.app", BELOW + "up.railway.app"),
        (r"https://[a-z]+\.ondigitalocean\.app", BELOW + "ondigitalocean.app"),
        (r"https://[a-z]+\.cloudapp\.azure\.com", BELOW + "cloudapp.azure.com"),
        (r"https://[a-z]+\.eastus\.cloudapp\.azure\.com", BELOW + "eastus.cloudapp.azure.com"),
        (r"https://[a-z]+\.com\.ar", BELOW + "com.ar"),
        (r"https://[a-z]+\.co\.il:8443/a", BELOW + "co.il"),
        (r"https://[a-z]+\.com\.sg", BELOW + "com.sg"),
        (r"https://[a-z]+\.eu\.org", BELOW + "eu.org"),
        (r"https://[a-z]+\.xn--55qx5d\.cn", BELOW + "xn--55qx5d.cn"),
        (r"https://[a-z0-9]+\.us\.auth0\.com/", BELOW + "us.auth0.com"),
        (r"https://acme\.[a-z]+\.kawasaki\.jp", BELOW + "hosts like *.kawasaki.jp"),
        (r"https://acme\.s[0-9]\.amazonaws\.com", BELOW + "s3.amazonaws.com"),
        (r"https://s[0-9]\.amazonaws\.com/[a-z]+", "everybody can have a path at s3.amazonaws.com"),
        (r"https://s[0-9]\.amazonaws\.com/acme", "everybody can have a path at s3.amazonaws.com"),
        (r"https://storage\.googleapis\.com/[a-z]+", "everybody can have a path at storage.googleapis.com"),
        (r"https://storage\.googleapis\.com:443/x[a-z]+/y", "everybody can have a path at storage.googleapis.com"),
        (r"https://storage\.googleapis\.com\./[a-z]+", "everybody can have a path at storage.googleapis.com"),
        (r"https://s3\.eu-west-1\.amazonaws\.com/[a-z]+", "everybody can have a path at s3.eu-west-1.amazonaws.com"),
        (r"https://gitlab\.com/[a-z]+", "everybody can have a path at gitlab.com"),
        (r"https://[a-z.]+\.y\.z", "what varies in its host can match '.'"),
        (r"https://(a|b\.c)\.y\.z", "what varies in its host can match '.'"),
        (r"https://[a-z@]+\.y\.z", "what varies in its host can match '@'"),
        (r"https://[a-z%]+\.y\.z", "what varies in its host can match '%'"),
        (r"https://x:[a-z]+(@)?\.y\.z", NOT_A_HOST),
        (r"https://x(:80)?\.y\.z", "what varies in its host can match ':'"),
        (r"https://[\w]+\.y\.z", "what varies in its host can match 'A'"),
        (r"https://[a-z]*\.y\.z", "a label of its host may be empty"),
        (r"https://x\.(a|)\.y\.z", "a label of its host may be empty"),
        (r"https://[a-z]+\.y\.z:[0-9]+", "its port varies"),
        (r"https://x\.y\.z:8[0-9]", "its port varies"),
        (r"https://x\.y\.z:(80|443)/[a-z]+", "its port varies"),
        (r"https://x\.y\.z:[a-f0-9]+", NOT_A_HOST),
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
        (
            r"https://[a-z]+\.github\.io",
            "name the host, in a policy for each; or let vary only what is below a name there that is yours",
        ),
        (
            r"https://storage\.googleapis\.com/[a-z]+",
            "write the first part of the path plainly, one of yours, like storage.googleapis.com/acme/[a-z0-9-]+",
        ),
    ],
)
def test_advice(text: str, advice: str) -> None:
    """A refusal says how to write it."""
    fault = refuse_issuer_pattern(text)
    assert isinstance(fault, IssuerPatternFault)
    assert advice == fault.advice
