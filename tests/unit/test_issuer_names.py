"""N-14, N-16: which strings can be the issuer of a policy."""

import pytest

from tailsts.policy.issuers import refuse_issuer


@pytest.mark.parametrize(
    "issuer",
    [
        "https://token.actions.githubusercontent.com",
        "https://token.actions.githubusercontent.com/enterprise-slug",
        "https://gitlab.example.com",
        "https://gitlab.example.com:8443/group",
        "https://oidc.circleci.com/org/9b5e4c1a-0000-4000-8000-000000000001",
        "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
        "https://login.microsoftonline.com/72f988bf-0000-0000-0000-2d7cd011db47/v2.0",
        "https://sts.windows.net/72f988bf-0000-0000-0000-2d7cd011db47/",
        "https://eastus.oic.prod-aks.azure.com/72f988bf-0000/11111111-2222/",
        "https://api.bitbucket.org/2.0/workspaces/example/pipelines-config/identity/oidc",
        "https://kubernetes.default.svc.cluster.local",
        "https://kubernetes.default.svc",
        "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c",
        "https://issuer.example.com/~user/a_b",
        "https://10.0.0.1:6443",
        "https://[2001:db8::1]:6443",
        "http://localhost:8888",
        "http://issuer.internal",
    ],
)
def test_accepted(issuer: str) -> None:
    """Issuers as they are in the world."""
    assert refuse_issuer(issuer) is None


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "issuer.example.com",
        "accounts.google.com",
        "kubernetes/serviceaccount",
        "ftp://issuer.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https:issuer.example.com",
        "https://issuer.example.com?x=1",
        "https://issuer.example.com/#x",
        "https://issuer.example.com/?",
        "https://user@issuer.example.com",
        "https://user:secret@issuer.example.com",
        "https://trusted.example@evil.example/",
        "https://issuer.example.com/../x",
        "https://issuer.example.com/..",
        "https://issuer.example.com/./x",
        "https://issuer.example.com//x",
        "https://issuer.example.com//",
        "https://issuer.example.com/%2e%2e/x",
        "https://issuer.example.com/a\\b",
        "https://issuer.example.com/a b",
        " https://issuer.example.com",
        "https://issuer.example.com\n",
        "https://issuer.example.com\0",
        "https://issuer.example.com/\x1b",
        "https://issüer.example.com",
        "https://\u0430pple.example.com",
        "https://issuer.example.com/é",
        "https://Issuer.Example.com",
        "HTTPS://issuer.example.com",
        "https://issuer.example.com:x",
        "https://issuer.example.com:0443",
        "https://issuer.example.com:123456",
        "https://issuer.example.com:",
        "https://-issuer.example.com",
        "https://issuer..example.com",
        "https://.example.com",
        "https://issuer_x.example.com",
        "https://[::1",
        "https://issuer.example.com/" + "x" * 255,
    ],
)
def test_refused(issuer: str) -> None:
    """Queries, fragments, credentials, dots, doubled slashes, control characters, other alphabets, other cases."""
    assert refuse_issuer(issuer)


def test_p16_upper_case_is_explained() -> None:
    """N-16: an issuer with capitals can never match, and the reason says so."""
    assert "can never match" in str(refuse_issuer("https://Token.actions.githubusercontent.com"))
