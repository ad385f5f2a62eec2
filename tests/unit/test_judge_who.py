"""P-09 to P-11, I-04, I-10, I-11, I-13, I-14: whether strangers meet a policy, or whoever gets a name later."""

import pytest

from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.trusted import Mode, TrustedIssuers
from unit.advising import GITHUB, GITLAB, SOMEBODY, codes, findings, said, toml

ENTRA = r"issuer_pattern = 'https://login\.microsoftonline\.com/[0-9a-f-]{36}/v2\.0'"
EKS = r"issuer_pattern = 'https://oidc\.eks\.us-west-2\.amazonaws\.com/id/[0-9A-F]{32}'"
FLY = r"issuer_pattern = 'https://oidc\.fly\.io/[a-z0-9-]+'"
CIRCLECI = "https://oidc.circleci.com"
TENANT = "3b9d0f52-6c1e-4a87-b5d4-e80f7a2c9361"


@pytest.mark.parametrize(
    ("issuer", "body", "key"),
    [
        (GITHUB, "subject_pattern = '.*'", "subject_pattern"),
        (GITHUB, "subject_pattern = 'repo:.*'", "subject_pattern"),
        (GITHUB, "subject_pattern = 'repo:[^/]+/[^/]+:environment:prod'", "subject_pattern"),
        (GITHUB, "subject_pattern = 'repo:.+:ref:refs/heads/release-[0-9]'", "subject_pattern"),
        (GITHUB, '[claims]\nevent_name = "push"\nenvironment = "prod"', "claims"),
        (GITHUB, '[claims]\nworkflow = "deploy"', "claims"),
        (GITHUB, '[claims]\nrepo_property_team = "platform"', "claims"),
        (GITHUB, "[claim_patterns]\nref = 'refs/heads/v[0-9]+'", "claim_patterns"),
        (GITHUB, "condition = 'claims.event_name == \"workflow_dispatch\"'", "condition"),
        (GITHUB, "condition = 'true'", "condition"),
        (GITHUB, "condition = '!has(claims.environment)'", "condition"),
        (GITLAB, '[claims]\nref = "main"\nref_protected = "true"', "claims"),
        (GITLAB, "subject_pattern = 'project_path:[^:]+:ref_type:branch:ref:main'", "subject_pattern"),
        ("https://accounts.google.com", "[claims]\nemail_verified = true", "claims"),
        ("https://accounts.google.com", "subject_pattern = '[0-9]+'", "subject_pattern"),
        ("https://agent.buildkite.com", '[claims]\nbuild_branch = "main"\npipeline_slug = "deploy"', "claims"),
        ("https://app.terraform.io", '[claims]\nterraform_workspace_name = "prod"', "claims"),
        (CIRCLECI, '[claims]\n"oidc.circleci.com/vcs-ref" = "refs/heads/main"', "claims"),
    ],
)
def test_p10_the_whole_world(issuer: str, body: str, key: str) -> None:
    """P-09, P-10: at an issuer that serves everybody, what everybody can bring about is no condition: a fault."""
    (finding,) = [finding for finding in findings(toml(body, issuer)) if finding.severity == "fault"]
    assert (finding.code, finding.path) == ("shared-issuer", key)


@pytest.mark.parametrize(
    ("issuer", "body"),
    [
        (GITHUB, 'subject = "repo:acme/infra:environment:prod"'),
        (GITHUB, 'subject = "repository_owner_id:123456"'),
        (GITHUB, "subject_pattern = 'repo:acme/[^/]+:environment:prod'"),
        (GITHUB, '[claims]\nrepository_owner = "acme"'),
        (GITHUB, '[claims]\nenterprise_id = "42"'),
        (GITHUB, "[claim_patterns]\nrepository = 'acme/[^/]+'"),
        (GITHUB, "condition = 'claims.repository_owner == \"acme\"'"),
        (GITLAB, '[claims]\nnamespace_id = "72"'),
        ("https://accounts.google.com", '[claims]\nemail = "a@acme.example"\nemail_verified = true'),
        ("https://accounts.google.com", '[claims.google.compute_engine]\nproject_id = "acme"'),
        ("https://agent.buildkite.com", 'subject = "f892efa9-103e-4d28-97a1-3b8616a0994d"'),
        ("https://agent.buildkite.com", '[claims]\norganization_slug = "acme"'),
        ("https://app.terraform.io", '[claims]\nterraform_organization_name = "acme"'),
        (CIRCLECI, f'[claims]\n"oidc.circleci.com/org-id" = "{TENANT}"'),
        (GITHUB, 'any_subject = true\n[claims]\nevent_name = "push"'),
        # A server of one's own is not the whole world.
        ("https://github.acme.example/_services/token", '[claims]\nevent_name = "push"'),
    ],
)
def test_p10_somebody(issuer: str, body: str) -> None:
    """P-10: whoever names a tenant, or says that the world is meant, is not told so."""
    assert not {"shared-issuer", "catch-all", "open-issuer", "weak-claim"} & set(codes(toml(body, issuer)))


@pytest.mark.parametrize(
    ("issuer", "body"),
    [
        (GITHUB, '[claims]\nactor = "octocat"'),
        (GITHUB, '[claims]\njob_workflow_ref = "acme/shared/.github/workflows/a.yml@refs/heads/main"'),
        (GITLAB, '[claims]\nuser_login = "somebody"\nref_protected = "true"'),
        (CIRCLECI, '[claims]\n"oidc.circleci.com/vcs-origin" = "github.com/acme/infra"'),
    ],
)
def test_i03_i14_weak_claims(issuer: str, body: str) -> None:
    """I-03, I-14: an actor, a reusable workflow or a repository can be that of a job in somebody else's tenant."""
    assert ("security", "weak-claim", "claims") in said(toml(body, issuer))


def test_i03_weak_with_strong() -> None:
    """I-03: beside a tenant, they are fine."""
    ids = '[claims]\nrepository_id = "1"\nrepository_owner_id = "2"'
    body = f'{ids}\nactor = "octocat"\nref = "refs/tags/r"\nevent_name = "push"'
    assert codes(toml(body)) == []


@pytest.mark.parametrize("body", ["subject_pattern = '.*'", "[claim_patterns]\nname = '[^/]+'", "condition = 'true'"])
def test_p09_catch_all(body: str) -> None:
    """P-09: a pattern that nearly everything matches names nobody, whoever the issuer is."""
    assert [code for _, code, _ in said(toml(body, SOMEBODY))] == ["catch-all"]
    assert codes(toml(body + '\n[claims]\nteam = "a"', SOMEBODY)) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'{ENTRA}\n[claims]\nidtyp = "app"', ["open-issuer"]),
        (f'{ENTRA}\n[claims]\nazp = "c41e7a08-2f95-4d36-8b07-19e5d3f6a2b4"', ["weak-claim"]),
        (f'{ENTRA}\n[claims]\ntid = "{TENANT}"', []),
        (f'{ENTRA}\n[claims]\noid = "{TENANT}"', []),
        (f'{EKS}\nsubject = "system:serviceaccount:ci:runner"', ["open-issuer"]),
        (f'{EKS}\n[claims."kubernetes.io".serviceaccount]\nuid = "{TENANT}"', []),
        (f"{FLY}\nsubject_pattern = 'acme:api:[^:]+'", ["names-alone"]),
        (f"{FLY}\n[claims]\nregion = 'sea'", ["open-issuer"]),
        (r"issuer_pattern = 'https://oidc\.fly\.io/acme-[a-z]+'" + '\n[claims]\nregion = "sea"', ["names-alone"]),
        (r"issuer_pattern = 'https://[a-z]+\.example\.com'" + '\nsubject = "x"', []),
    ],
)
def test_i13_patterns_of_issuers(body: str, expected: list[str]) -> None:
    """I-13: a pattern that the issuers of strangers match needs something of one's own beside it."""
    assert codes(toml(body)) == expected


@pytest.mark.parametrize(
    ("issuer", "named", "pinned"),
    [
        (
            GITHUB,
            '[claims]\nrepository = "acme/infra"\nref = "refs/tags/r"\nevent_name = "push"',
            'repository_id = "1"',
        ),
        (GITLAB, '[claims]\nproject_path = "acme/infra"\nref_protected = "true"', 'project_id = "20"'),
        ("https://agent.buildkite.com", '[claims]\norganization_slug = "acme"', 'organization_id = "x"'),
        (
            "https://app.terraform.io",
            '[claims]\nterraform_organization_name = "a"',
            'terraform_organization_id = "org-a"',
        ),
        ("https://oidc.fly.io/acme", '[claims]\napp_name = "api"', 'app_id = "11"'),
        ("https://accounts.google.com", '[claims]\nemail = "a@acme.example"\nemail_verified = true', 'azp = "11"'),
    ],
)
def test_i04_names_alone(issuer: str, named: str, pinned: str) -> None:
    """I-04, I-12, I-14: who is known by names alone may be somebody else tomorrow; ids last."""
    assert said(toml(named, issuer)) == [("advice", "names-alone", "claims")]
    assert codes(toml(f"{named}\n{pinned}", issuer)) == []


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ('subject = "repo:acme/infra:ref:refs/heads/main"', ["names-alone"]),
        ('subject = "repo:acme@123/infra@456:ref:refs/heads/main"', []),
        (r"subject_pattern = 'repo:acme(@\d+)?/infra(@\d+)?:ref:refs/heads/main'", ["names-alone"]),
        (r"subject_pattern = 'repo:acme@123/[a-z]+@\d+:ref:refs/heads/main'", []),
        ('subject = "repository_id:1:environment:prod"', []),
    ],
)
def test_i05_ids_in_a_subject(subject: str, expected: list[str]) -> None:
    """I-04, I-05: GitHub's subjects with ids are ids, those without are names."""
    assert codes(toml(f'{subject}\n[claims]\nevent_name = "push"')) == expected


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", SOMEBODY])
@pytest.mark.parametrize(
    "email", ['[claims]\nemail = "a@acme.example"', "[claim_patterns]\nemail = '[a-z]+@acme\\.example'"]
)
def test_i11_email(issuer: str, email: str) -> None:
    """I-11: an address that need not be verified is what its bearer says it is."""
    assert ("security", "unverified-email", "claims.email") in said(toml(email, issuer))
    verified = f"condition = 'claims.email_verified == true'\n{email}"
    assert "unverified-email" not in codes(toml(verified, issuer))
    assert "unverified-email" not in codes(toml(f'subject = "112179062720391305885"\n{email}', issuer))


@pytest.mark.parametrize("audience", ["sts.amazonaws.com", "https://github.com/acme", "https://kubernetes.default.svc"])
def test_u09_audiences_of_others(audience: str) -> None:
    """U-09: an audience that tokens for others have lets these in."""
    text = toml('subject = "x"', SOMEBODY, audience=f'audience = ["{audience}", "ours"]')
    assert said(text) == [("security", "foreign-audience", "audience")]


@pytest.mark.parametrize("pattern", [".*", "https://.*", "[a-z.]+"])
def test_u09_patterns_of_audiences(pattern: str) -> None:
    """U-09: a pattern that such an audience matches does the same."""
    text = toml('subject = "x"', SOMEBODY, audience=f"audience_pattern = '{pattern}'")
    assert said(text) == [("security", "foreign-audience", "audience_pattern")]


def test_i10_audience() -> None:
    """I-10: without an audience every token of the issuer will do, and on Kubernetes every pod has one."""
    body = 'subject = "system:serviceaccount:ci:runner"'
    (finding,) = findings(toml(body, SOMEBODY, audience=""))
    assert (finding.code, "every pod" in finding.message) == ("no-audience", True)
    assert findings(toml(body, SOMEBODY, audience=""), server_audience=True) == []
    (finding,) = findings(toml('subject = "x"', SOMEBODY, audience=""))
    assert (finding.code, "every pod" in finding.message) == ("no-audience", False)
    assert codes(toml(body, SOMEBODY, audience=r"audience_pattern = 'https://sts\.example\.com(/[a-z]+)?'")) == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (f"https://sts.windows.net/{TENANT}", f"https://sts.windows.net/{TENANT}/"),
        (f"https://login.microsoftonline.com/{TENANT}/v2.0/", f"https://login.microsoftonline.com/{TENANT}/v2.0"),
        (
            f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/x",
            f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/x/",
        ),
        (f"{GITHUB}/acme/", f"{GITHUB}/acme"),
        ("https://oidc.fly.io/acme/", "https://oidc.fly.io/acme"),
    ],
)
def test_n15_slashes(wrong: str, right: str) -> None:
    """N-15: a slash too many or too few at the end of a known issuer never matches, and the right form is said."""
    body = f'subject = "{TENANT}"'
    (finding,) = [one for one in findings(toml(body, wrong)) if one.code == "issuer-slash"]
    assert finding.advice == f'write "{right}"'
    assert "issuer-slash" not in codes(toml(body, right))


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_untrusted_issuers(mode: Mode) -> None:
    """A policy for an issuer that the organisation does not trust is told that it gives nothing."""
    trusted = TrustedIssuers(mode, frozenset({GITLAB}), (compile_pattern(r"https://[a-z]+\.example\.com"),))
    text = 'subject = "112179062720391305885"'
    found = [(one.code, one.severity) for one in findings(toml(text, "https://accounts.google.com"), trusted=trusted)]
    assert found == [("untrusted-issuer", "security")]
    assert findings(toml(text, SOMEBODY), trusted=trusted) == []
    assert "untrusted-issuer" not in {one.code for one in findings(toml(f"{FLY}\n{text}"), trusted=trusted)}
