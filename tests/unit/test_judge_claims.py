"""I-12 and others: whether any token can be what a policy asks."""

import pytest

from unit.advising import GITHUB, GITLAB, SOMEBODY, codes, findings, said, toml

IDS = '[claims]\nrepository_id = "1"\nrepository_owner_id = "2"\nevent_name = "push"\nref = "refs/heads/main"'
PROJECT = '[claims]\nproject_id = "20"\nnamespace_id = "72"\nref_protected = "true"'
WORKSPACE = "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc"
BUILDKITE = "https://agent.buildkite.com"
STEP = "{d5ff2daf-063f-4c13-82fc-cb51af94c2cb}"


@pytest.mark.parametrize(
    ("issuer", "body", "key", "words"),
    [
        (GITLAB, PROJECT.replace('"true"', "true"), "claims.ref_protected", "is a boolean, and GitLab writes a string"),
        (GITHUB, IDS.replace('"1"', "1"), "claims.repository_id", "is an integer, and GitHub Actions writes a string"),
        (GITHUB, f"{IDS}\nrun_attempt = [1, true]", "claims.run_attempt", "is an integer or a boolean, and"),
        (GITHUB, f"{IDS}\nenvironment = 1", "claims.environment", "is an integer, and"),
        (GITLAB, f'{PROJECT}\ngroups_direct = "acme"', "claims.groups_direct", "is a string, and GitLab writes a list"),
        (GITLAB, f"{PROJECT}\n[claim_patterns]\nrunner_id = '[0-9]+'", "claim_patterns.runner_id", "writes an integer"),
        (
            SOMEBODY,
            '[claims."kubernetes.io"]\nwarnafter = "1"',
            'claims."kubernetes.io".warnafter',
            "writes an integer",
        ),
    ],
)
def test_i12_types(issuer: str, body: str, key: str, words: str) -> None:
    """I-12: a value of a type that the issuer never writes is met by no token, and both types are named."""
    (finding,) = [one for one in findings(toml(body, issuer)) if one.code == "claim-type"]
    assert (finding.severity, finding.path) == ("security", key)
    assert words in finding.message


@pytest.mark.parametrize(
    ("issuer", "body"),
    [
        (GITLAB, PROJECT),
        (GITHUB, f'{IDS}\nrun_attempt = [1, "1"]'),
        (SOMEBODY, "[claims]\nref_protected = true"),
        (GITHUB, f"{IDS}\nrepo_property_team = true"),
    ],
)
def test_i12_types_that_may_be(issuer: str, body: str) -> None:
    """Where one of the values can be, or nothing is known of the claim, nothing is said."""
    assert codes(toml(body, issuer)) == []


@pytest.mark.parametrize(
    ("issuer", "body", "meant"),
    [
        (GITHUB, f'{IDS}\nrepositroy = "a/b"', "repository"),
        (GITHUB, f'{IDS}\nRef_protected = "true"', "ref_protected"),
        (GITHUB, f"{IDS}\n[claim_patterns]\nenvironmnet = 'x'", "environment"),
        (GITLAB, f'{PROJECT}\nref-protected = "true"', "ref_protected"),
        (
            "https://kubernetes.default.svc",
            'subject = "system:serviceaccount:ci:a"\n[claims.kubernetes.io]\nnamespace = "ci"',
            '"kubernetes.io".namespace',
        ),
    ],
)
def test_names_of_claims(issuer: str, body: str, meant: str) -> None:
    """A claim whose name is nearly a known one was mistyped."""
    (finding,) = [one for one in findings(toml(body, issuer)) if one.code != "cluster-issuer"]
    assert (finding.code, finding.advice) == ("unknown-claim", f"did you mean {meant}?")


def test_other_names_of_claims() -> None:
    """Claims that are not like any known one may be new, or the customer's own."""
    assert codes(toml(f'{IDS}\nnovelty = "x"')) == []


@pytest.mark.parametrize(
    ("issuer", "body", "keys"),
    [
        (
            GITHUB,
            'subject = "repo:a@1/b@2:environment:prod"\n[claims]\nenvironment = "dev"\nref = "r"',
            ["environment"],
        ),
        (GITHUB, f'subject = "repo:a@1/b@3:ref:refs/heads/main"\n{IDS}', ["repository_id", "repository_owner_id"]),
        (
            "https://app.terraform.io",
            (
                'subject = "organization:a:project:p:workspace:w:run_phase:apply"\n'
                '[claims]\nterraform_organization_id = "o"\nterraform_run_phase = "plan"'
            ),
            ["terraform_run_phase"],
        ),
        (
            SOMEBODY,
            'subject = "system:serviceaccount:ci:runner"\n[claims."kubernetes.io"]\nnamespace = "default"',
            ['"kubernetes.io".namespace'],
        ),
    ],
)
def test_contradictions(issuer: str, body: str, keys: list[str]) -> None:
    """A claim that the subject says otherwise is met by no token together with it."""
    found = [one for one in findings(toml(body, issuer)) if one.code == "contradicting-claims"]
    assert [(one.severity, one.path) for one in found] == [("security", f"claims.{key}") for key in keys]


def test_contradicting_patterns() -> None:
    """The same for a pattern; and where both say the same, nothing is said."""
    subject = 'subject = "repo:a@1/b@2:ref:refs/heads/main"\n[claims]\nevent_name = "push"\n[claim_patterns]\n'
    assert said(toml(f"{subject}ref = 'refs/tags/v.*'")) == [("security", "contradicting-claims", "claim_patterns.ref")]
    assert codes(toml(f"{subject}ref = 'refs/heads/.*'")) == []


@pytest.mark.parametrize(
    ("issuer", "subject"),
    [
        (GITHUB, "acme/infra"),
        (GITLAB, "acme/infra"),
        ("https://accounts.google.com", "ci@acme.iam.gserviceaccount.com"),
        ("https://kubernetes.default.svc", "ci:runner"),
        ("https://x.tokens.sts.global.api.aws", "DeployRole"),
        ("https://oidc.fly.io/acme", "api"),
        ("https://app.terraform.io", "acme/prod"),
        (BUILDKITE, "acme/deploy"),
    ],
)
def test_forms_of_subjects(issuer: str, subject: str) -> None:
    """A subject of another form than its issuer gives it is probably not one."""
    assert "subject-form" in codes(toml(f'subject = "{subject}"', issuer))


@pytest.mark.parametrize(
    ("issuer", "subject"),
    [
        (GITHUB, "repo:acme/infra:job_workflow_ref:acme/shared/.github/workflows/a.yml@refs/heads/main"),
        (GITHUB, "repository_id:1:ref:refs/heads/main"),
        (GITHUB, "repo:acme/*"),
        (GITLAB, "project_path:acme/infra:ref_type:branch:ref:main:ref_protected:true"),
        ("https://accounts.google.com", "112179062720391305885"),
        (BUILDKITE, "f892efa9-103e-4d28-97a1-3b8616a0994d"),
        ("https://app.terraform.io", "organization:acme:module:vpc:operation:test_run"),
        ("https://sts.windows.net/x/", "8a6f2d19-b4c3-4e70-95a8-d7013c5e9f62"),
    ],
)
def test_other_forms_of_subjects(issuer: str, subject: str) -> None:
    """Forms that customers can choose, and wildcards, which are told something else, are not."""
    assert "subject-form" not in codes(toml(f'subject = "{subject}"', issuer))


@pytest.mark.parametrize(
    ("issuer", "subject"),
    [
        (WORKSPACE, f"{{8864cd24-449d-4441-8862-cf4fe8ad6caa}}:{STEP}"),
        (BUILDKITE, f"organization:a:pipeline:b:ref:refs/heads/main:commit:{'9f' * 20}:step:build"),
    ],
)
def test_fleeting_subjects(issuer: str, subject: str) -> None:
    """A subject that names a step or a commit is another one the next time."""
    assert ("advice", "fleeting-subject", "subject") in said(toml(f'subject = "{subject}"', issuer))
