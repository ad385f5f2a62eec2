"""What is said of the text of a policy."""

from tailsts.policy.finding import Finding, Page
from tailsts.policy.judging.judge import judge
from tailsts.policy.parse import parse
from tailsts.policy.trusted import TrustedIssuers

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
SOMEBODY = "https://issuer.example.com"


def toml(body: str, issuer: str = GITHUB, *, audience: str = 'audience = "https://sts.example.com"') -> str:
    """Return the text of a policy with a usual audience and scope, and with `body`."""
    named = "" if "issuer_pattern" in body else f'issuer = "{issuer}"\n'
    return f'{named}{audience}\nallowed_scopes = ["dns:read"]\n{body}\n'


def findings(text: str, *, server_audience: bool = False, trusted: TrustedIssuers | None = None) -> list[Finding]:
    """Return all that is said of `text`, which has no fault of form."""
    page = Page("p.toml", text)
    draft = parse("p", page)
    assert draft is not None, page.findings
    judge(draft, page, server_audience=server_audience, trusted=trusted)
    return page.findings


def said(text: str) -> list[tuple[str, str, str]]:
    """Return severity, code and key of each finding."""
    return [(str(finding.severity), finding.code, finding.path) for finding in findings(text)]


def codes(text: str) -> list[str]:
    """Return the code of each finding."""
    return [finding.code for finding in findings(text)]
