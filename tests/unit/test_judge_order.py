"""I-01: what is found does not depend on the order in which values, branches and terms are written."""

import itertools

import pytest

from unit.advising import GITHUB, GITLAB, codes, said, toml

IDS = 'repository_id = "456789"\nrepository_owner_id = "123456"'
BY_IDS = 'claims.repository_id == "456789" && claims.repository_owner_id == "123456"'
PROJECT = 'project_id = "20"\nnamespace_id = "72"'


@pytest.mark.parametrize("events", [("push", "pull_request"), ("push", "pull_request_review", "schedule")])
def test_i01_events(events: tuple[str, ...]) -> None:
    """I-01: a list, a pattern or a condition with an event of pull requests is told so, whichever comes first."""
    for ordered in itertools.permutations(events):
        listed = ", ".join(f'"{event}"' for event in ordered)
        either = " || ".join(f'claims.event_name == "{event}"' for event in ordered)
        assert "pull-request" in codes(toml(f"[claims]\n{IDS}\nevent_name = [{listed}]"))
        assert "pull-request" in codes(toml(f"[claims]\n{IDS}\n[claim_patterns]\nevent_name = '{'|'.join(ordered)}'"))
        assert "pull-request" in codes(toml(f"condition = '{BY_IDS} && claims.event_name in [{listed}]'"))
        assert "pull-request" in codes(toml(f"condition = '{BY_IDS} && ({either})'"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('claims.ref == "refs/heads/main"', 'claims.event_name == "pull_request"'),
        ('claims.ref == "refs/heads/main"', 'claims.ref == "refs/pull/7/merge"'),
        ('claims.environment == "prod"', 'claims.event_name == "pull_request"'),
    ],
)
def test_i01_terms(one: str, other: str) -> None:
    """I-01: a pull request beside something else in a condition is one that the author need not have seen."""
    for first, second in ((one, other), (other, one)):
        assert "pull-request" in codes(toml(f"condition = '{BY_IDS} && ({first} || {second})'"))


@pytest.mark.parametrize("branches", ["ref:refs/heads/main|pull_request", "pull_request|ref:refs/heads/main"])
def test_i01_branches_of_a_subject(branches: str) -> None:
    """I-01: the same for the branches of a pattern of subjects."""
    assert "pull-request" in codes(toml(f"subject_pattern = 'repo:acme@123456/infra@456789:({branches})'"))


@pytest.mark.parametrize("refs", ['"refs/heads/main", "refs/pull/7/merge"', '"refs/pull/7/merge", "refs/heads/main"'])
def test_i01_one_pull_request(refs: str) -> None:
    """I-01: a certain pull request is one, too."""
    assert "pull-request" in codes(toml(f"[claims]\n{IDS}\nref = [{refs}]"))


@pytest.mark.parametrize(
    "body",
    [
        f'[claims]\n{IDS}\nevent_name = "pull_request"',
        f"[claims]\n{IDS}\n[claim_patterns]\nevent_name = 'pull_request'",
        f"condition = '{BY_IDS} && claims.event_name == \"pull_request\"'",
        "subject_pattern = 'repo:acme@123456/infra@456789:pull_request'",
    ],
)
def test_i01_only_pull_requests(body: str) -> None:
    """I-01: where nothing else passes, pull requests are what the author says."""
    assert "pull-request" not in codes(toml(body))


def test_i01_reviews() -> None:
    """I-01: a review of a pull request runs its code as well, and is another event."""
    assert "pull-request" in codes(toml(f"condition = 'claims.event_name != \"pull_request\"'\n[claims]\n{IDS}"))


@pytest.mark.parametrize("sources", ['"merge_request_event", "push"', '"push", "merge_request_event"'])
def test_i12_sources(sources: str) -> None:
    """I-12: a merge request beside pushes does not say that the branch need not be protected."""
    assert codes(toml(f"[claims]\n{PROJECT}\npipeline_source = [{sources}]", GITLAB)) == ["unprotected-branch"]


def test_a_value_that_the_condition_takes() -> None:
    """Of several values, the one that the condition asks for is the one that is meant."""
    listed = f'[claims]\n{IDS}\nref = ["refs/tags/v1", "refs/heads/main"]'
    by_pattern = f"[claims]\n{IDS}\n[claim_patterns]\nref = 'refs/tags/v1|refs/heads/.*'"
    for body in (listed, by_pattern):
        found = said(toml(f"condition = 'claims.ref == \"refs/heads/main\"'\n{body}", GITHUB))
        assert [code for _, code, _ in found] == ["pull-request-target"]


def test_issuers() -> None:
    """The issuer that is known is found among those that a pattern names, whichever comes first."""
    for names in ("oidc|agent", "agent|oidc"):
        body = f"issuer_pattern = 'https://({names})\\.buildkite\\.com'\nsubject = 'acme/deploy'"
        assert "subject-form" in codes(toml(body))


def test_i11_addresses() -> None:
    """I-11: of several addresses, each is one that may be unverified."""
    condition = 'claims.email == "a@example.com" || claims.email_verified'
    for emails in ('"a@example.com", "b@example.com"', '"b@example.com", "a@example.com"'):
        body = f"condition = '{condition}'\n[claims]\nemail = [{emails}]"
        assert "unverified-email" in codes(toml(body, "https://accounts.google.com"))


def test_types_of_values() -> None:
    """Values of different types are different tokens."""
    assert codes(toml(f'[claims]\n{IDS}\nevent_name = "push"\nrepo_property_x = [true, 1, "1"]')) == []
