"""P-06: names that look closed and are not: a branch that goes on, a service account of any namespace."""

import pytest

from unit.advising import GITHUB, GITLAB, SOMEBODY, codes, findings, toml

PUSHED = '[claims]\nrepository_id = "1"\nrepository_owner_id = "2"\nevent_name = "push"'
PROJECT = '[claims]\nproject_id = "20"\nnamespace_id = "72"'
CIRCLECI = "https://oidc.circleci.com/org/0b54b4a9-7a5e-41bc-9f6e-1d8a7f3b2c10"
BITBUCKET = "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc"
BUILDKITE = "https://agent.buildkite.com"


@pytest.mark.parametrize(
    ("issuer", "body", "key", "met"),
    [
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = 'refs/heads/main.*'", "claim_patterns.ref", "main-evil"),
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = '.*main'", "claim_patterns.ref", "evil-main"),
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = '.*/master'", "claim_patterns.ref", "evil/master"),
        (GITHUB, f"condition = 'claims.ref.contains(\"main\")'\n{PUSHED}", "condition", "main-evil"),
        (GITHUB, f"condition = 'claims.ref.endsWith(\"main\")'\n{PUSHED}", "condition", "evil-main"),
        (
            GITHUB,
            f"subject_pattern = 'repo:acme@2/infra@1:ref:refs/heads/main.*'\n{PUSHED}",
            "subject_pattern",
            "main-evil",
        ),
        (
            GITHUB,
            f"{PUSHED}\n[claim_patterns]\nworkflow_ref = 'a/b/\\.github/workflows/a\\.yml@refs/heads/main.*'",
            "claim_patterns.workflow_ref",
            "main-evil",
        ),
        (
            GITHUB,
            (
                f"{PUSHED}\nref = 'refs/heads/main'\n"
                "[claim_patterns]\njob_workflow_ref = 'a/b/\\.github/workflows/a\\.yml@refs/heads/main.*'"
            ),
            "claim_patterns.job_workflow_ref",
            "main-evil",
        ),
        (GITLAB, f"{PROJECT}\n[claim_patterns]\nref = 'main.*'", "claim_patterns.ref", "main-evil"),
        (
            BUILDKITE,
            "[claims]\norganization_id = 'x'\npipeline_id = 'y'\n[claim_patterns]\nbuild_branch = 'main.*'",
            "claim_patterns.build_branch",
            "main-evil",
        ),
        (BITBUCKET, "[claims]\nrepositoryUuid = '{x}'\n[claim_patterns]\nbranchName = 'main.*'", None, "main-evil"),
        (
            CIRCLECI,
            (
                "[claims]\n'oidc.circleci.com/project-id' = 'x'\n"
                "[claim_patterns]\n'oidc.circleci.com/vcs-ref' = 'refs/heads/main.*'"
            ),
            'claim_patterns."oidc.circleci.com/vcs-ref"',
            "main-evil",
        ),
    ],
)
def test_p06_open_branches(issuer: str, body: str, key: str | None, met: str) -> None:
    """P-06: a branch whose name goes on with anything is told so, with one that passes."""
    (finding,) = [one for one in findings(toml(body, issuer)) if one.code == "open-branch"]
    assert (finding.severity, finding.path) == ("security", key or "claim_patterns.branchName")
    assert f'"{met}"' in finding.message


@pytest.mark.parametrize(
    ("issuer", "body"),
    [
        (GITHUB, f"{PUSHED}\nref = 'refs/heads/main'"),
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = 'refs/heads/(main|release/.*)'"),
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = 'refs/heads/release.*'"),
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = 'refs/tags/v.*'"),
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = 'refs/heads/main(-[0-9]+)?'"),
        # Any branch is what this says.
        (GITHUB, f"{PUSHED}\n[claim_patterns]\nref = 'refs/heads/.*'"),
        (GITHUB, PUSHED),
        (GITHUB, "any_subject = true"),
        # A branch that goes on is a protected one as well.
        (GITHUB, f"{PUSHED}\nref_protected = 'true'\n[claim_patterns]\nref = 'refs/heads/main.*'"),
        (GITLAB, f"{PROJECT}\nref_protected = 'true'\n[claim_patterns]\nref = 'main.*'"),
        (SOMEBODY, "[claims]\na = 'b'\n[claim_patterns]\nref = 'refs/heads/main.*'"),
    ],
)
def test_p06_closed_branches(issuer: str, body: str) -> None:
    """P-06: a whole name, a family after a separator, or any branch where that is said, is not."""
    assert "open-branch" not in codes(toml(body, issuer))


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ("subject_pattern = 'system:serviceaccount:.*:runner'", "subject_pattern"),
        ("subject_pattern = 'system:serviceaccount:[a-z0-9-]+:(runner|deployer)'", "subject_pattern"),
        ("[claims.'kubernetes.io'.serviceaccount]\nname = 'runner'", "claims"),
        (
            (
                "[claims.'kubernetes.io'.serviceaccount]\nname = 'runner'\n"
                "[claim_patterns.'kubernetes.io']\nnamespace = '.+'"
            ),
            'claim_patterns."kubernetes.io".namespace',
        ),
        (
            "subject_pattern = 'system:serviceaccount:.*'\ncondition = 'claims.sub.endsWith(\":runner\")'",
            "subject_pattern",
        ),
    ],
)
def test_p06_any_namespace(body: str, key: str) -> None:
    """P-06: a service account's name in whatever namespace is one that many can give."""
    found = [(str(one.severity), one.path) for one in findings(toml(body, SOMEBODY)) if one.code == "any-namespace"]
    assert found == [("security", key)]


@pytest.mark.parametrize(
    "body",
    [
        "subject = 'system:serviceaccount:ci:runner'",
        "subject_pattern = 'system:serviceaccount:team-[a-z]+:runner'",
        "subject_pattern = 'system:serviceaccount:(ci|cd):runner'",
        "subject_pattern = 'system:serviceaccount:ci:.*'",
        # That is said by another name already.
        "subject_pattern = 'system:serviceaccount:.*'",
        # An account has its id once, in whatever namespace it is.
        "[claims.'kubernetes.io'.serviceaccount]\nuid = '1'",
    ],
)
def test_p06_a_namespace(body: str) -> None:
    """P-06: a namespace that is named, or the start of one, is somebody's."""
    assert "any-namespace" not in codes(toml(body, SOMEBODY))
