"""I-01 to I-03, I-12: whether code that nobody reviewed can meet a policy of GitHub or GitLab."""

import pytest

from unit.advising import GITHUB, GITLAB, codes, said, toml

IDS = 'repository_id = "456789"\nrepository_owner_id = "123456"'
PINNED = f'[claims]\n{IDS}\nevent_name = "push"\nref = "refs/heads/main"'
PROJECT = 'project_id = "20"\nnamespace_id = "72"'


@pytest.mark.parametrize(
    "body",
    [
        f"[claims]\n{IDS}",
        f'[claims]\n{IDS}\nworkflow_ref = "acme/infra/.github/workflows/a.yml@refs/pull/90210/merge"',
        f'[claims]\n{IDS}\n[claim_patterns]\nref = "refs/.*"',
        f"[claims]\n{IDS}\n[claim_patterns]\nworkflow_ref = 'acme/infra/\\.github/workflows/a\\.yml@refs/.*'",
        "subject_pattern = 'repo:acme@123456/infra@456789:.*'",
        "subject_pattern = 'repo:acme@123456/infra@456789:(ref:refs/heads/main|pull_request)'",
        f"condition = 'claims.event_name != \"pull_request_target\"'\n[claims]\n{IDS}",
        f'[claims]\n{IDS}\nevent_name = ["push", "pull_request"]',
        "subject_pattern = 'repo:acme@123456/[a-z]+@[0-9]+:.*'",
    ],
)
def test_i01_pull_requests(body: str) -> None:
    """I-01: a policy that a pull request of the same repository meets is told so."""
    assert "pull-request" in codes(toml(body))


@pytest.mark.parametrize(
    "body",
    [
        PINNED,
        f'[claims]\n{IDS}\nref = "refs/heads/main"',
        f'[claims]\n{IDS}\nevent_name = ["push", "schedule"]',
        f'[claims]\n{IDS}\nref_protected = "true"',
        f'[claims]\n{IDS}\nworkflow_ref = "acme/infra/.github/workflows/a.yml@refs/heads/main"',
        f"condition = 'claims.event_name == \"push\"'\n[claims]\n{IDS}",
        'subject = "repo:acme@123456/infra@456789:ref:refs/heads/main"',
        "subject_pattern = 'repo:acme@123456/infra@456789:ref:.*'",
        f'[claims]\n{IDS}\nenvironment = "prod"',
        # The author says so.
        f'[claims]\n{IDS}\nevent_name = "pull_request"',
        'subject = "repo:acme@123456/infra@456789:pull_request"',
    ],
)
def test_i01_no_pull_requests(body: str) -> None:
    """I-01: one that none meets, or that names them, is not."""
    assert "pull-request" not in codes(toml(body))


def test_i01_pull_request_target() -> None:
    """I-01: a branch alone does not keep out pull_request_target, which runs there; an event does."""
    subject = 'subject = "repo:acme@123456/infra@456789:ref:refs/heads/main"'
    assert said(toml(subject)) == [("advice", "pull-request-target", "subject")]
    assert codes(toml(subject + '\n[claims]\nevent_name = "push"')) == []
    assert codes(toml(f'[claims]\n{IDS}\nref = "refs/tags/v1"')) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'[claims]\n{IDS}\nenvironment = "prod"', ["environment-branch"]),
        ('subject = "repo:acme@123456/infra@456789:environment:prod"', ["environment-branch"]),
        ("subject_pattern = 'repo:acme@123456/infra@456789:environment:[a-z]+'", ["environment-branch"]),
        (
            (
                f'[claims]\n{IDS}\nenvironment = "prod"\n'
                "[claim_patterns]\nworkflow_ref = 'a/b/\\.github/workflows/a\\.yml@refs/heads/.*'"
            ),
            ["environment-branch", "workflow-branch"],
        ),
        (f'[claims]\n{IDS}\nenvironment = "prod"\nref = "refs/heads/main"', []),
        (f'[claims]\n{IDS}\nenvironment = "prod"\nref_protected = "true"', []),
        (f'condition = \'claims.ref == "refs/heads/main"\'\n[claims]\n{IDS}\nenvironment = "prod"', []),
        ('subject = "repo:acme@123456/infra@456789:environment:prod"\n[claims]\nref_protected = "true"', []),
    ],
)
def test_i02_environments(body: str, expected: list[str]) -> None:
    """I-02: an environment says nothing about the branch, unless the branch is asked for too."""
    assert codes(toml(body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'{PINNED}\nworkflow = "deploy"', [("advice", "workflow-name", "claims.workflow")]),
        (f'{PINNED}\nworkflow = "deploy"\nworkflow_ref = "a/b/.github/workflows/a.yml@refs/heads/main"', []),
        (
            PINNED + "\n[claim_patterns]\njob_workflow_ref = 'acme/shared/\\.github/workflows/a\\.yml@.*'",
            [("security", "workflow-branch", "claim_patterns.job_workflow_ref")],
        ),
        (
            PINNED + "\n[claim_patterns]\njob_workflow_ref = 'acme/shared/\\.github/workflows/a\\.yml@refs/tags/v.*'",
            [],
        ),
        # Its branch is that of the run, and that is pinned.
        (PINNED + "\n[claim_patterns]\nworkflow_ref = 'acme/infra/\\.github/workflows/a\\.yml@.*'", []),
        (
            (
                f'[claims]\n{IDS}\nevent_name = "push"\n'
                "[claim_patterns]\nworkflow_ref = 'acme/infra/\\.github/workflows/a\\.yml@.*'"
            ),
            [("security", "workflow-branch", "claim_patterns.workflow_ref")],
        ),
    ],
)
def test_i03_workflows(body: str, expected: list[tuple[str, str, str]]) -> None:
    """I-03: the name of a workflow is free text, and its file is what its branch makes of it."""
    assert said(toml(body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"[claims]\n{PROJECT}", ["unprotected-branch"]),
        (f'[claims]\n{PROJECT}\nref = "main"', ["unprotected-branch"]),
        (f'[claims]\n{PROJECT}\nref = "main"\nref_protected = "true"', []),
        (f"condition = 'claims.ref_protected == \"true\"'\n[claims]\n{PROJECT}", []),
        # The author says so.
        (f'[claims]\n{PROJECT}\npipeline_source = "merge_request_event"', []),
    ],
)
@pytest.mark.parametrize("issuer", [GITLAB, "https://gitlab.example.com"])
def test_i12_gitlab(issuer: str, body: str, expected: list[str]) -> None:
    """I-12: a branch of GitLab's may not be protected, unless that is asked for; on servers of one's own as well."""
    body = body if issuer == GITLAB else body + '\nproject_path = "acme/infra"'
    assert codes(toml(body, issuer)) == expected


def test_nobody_in_particular() -> None:
    """A policy that trusts everybody on purpose hears nothing more of branches."""
    assert codes(toml("any_subject = true")) == []
    assert codes(toml(f"[claims]\n{IDS}", f"{GITHUB}/acme")) == ["pull-request"]
