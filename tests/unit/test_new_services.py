"""For every issuer: the policy that is made for a token allows it, denies its neighbours, and is strict."""

from typing import Any

import pytest

from tailsts.authoring.clusters import UNKNOWN
from tailsts.authoring.services import SERVICES, recognise
from tailsts.authoring.sketch import Service
from tailsts.fixtures import fixture, names
from tailsts.policy.decide import Grant, Refusal
from tailsts.policy.finding import Page
from tailsts.policy.model import assemble
from tailsts.policy.trial import read_trials, run
from unit.authoring import NOW, codes, draft_of, examples_of, made, policy_of, verdict

SERVICE_OF = {
    "aws": "aws",
    "bitbucket": "bitbucket",
    "buildkite": "buildkite",
    "circleci": "circleci",
    "circleci-root": "circleci",
    "eks": "kubernetes",
    "entra-v1": "entra",
    "entra-v2": "entra",
    "fly": "fly",
    "github": "github",
    "github-environment": "github",
    "github-immutable": "github",
    "github-pull-request": "github",
    "gitlab": "gitlab",
    "gitlab-merge-request": "gitlab",
    "google": "google",
    "google-compute": "google",
    "google-without-email": "google",
    "hcp-terraform": "hcp-terraform",
    "kubernetes": "kubernetes",
    "spiffe": "spiffe",
}
UUID = "9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b17"
SAID: dict[str, dict[str, str]] = {
    "github": {"repo": "acme/infra", "repo-id": "456789", "owner-id": "123456", "environment": "prod"},
    "gitlab": {"project": "acme/infra", "project-id": "20", "namespace-id": "72"},
    "kubernetes": {"namespace": "ci", "service-account": "runner", "issuer": "https://cluster.example.com"},
    "google": {"account-id": "112179062720391305885"},
    "aws": {
        "issuer": f"https://{UUID}.tokens.sts.global.api.aws",
        "role-arn": "arn:aws:iam::123456789012:role/Deploy",
        "account-id": "123456789012",
    },
    "buildkite": {"organization": "acme", "organization-id": UUID, "pipeline": "infra", "pipeline-id": UUID},
    "circleci": {"org-id": UUID, "project-id": UUID, "vcs-origin": "github.com/acme/infra"},
    "hcp-terraform": {
        "organization": "acme",
        "organization-id": "org-GRNbCjYNpBB6NEH9",
        "workspace": "infra",
        "workspace-id": "ws-mbsd5E3Ktt5Rg2Xm",
    },
    "entra": {"tenant-id": UUID, "object-id": UUID, "client-id": UUID},
    "bitbucket": {"workspace": "acme", "workspace-uuid": f"{{{UUID}}}", "repository-uuid": f"{{{UUID}}}"},
    "fly": {"org": "acme", "org-id": "1", "app": "infra", "app-id": "2"},
    "spiffe": {"spiffe-id": "spiffe://example.org/ns/ci/sa/runner", "issuer": "https://spire.example.org"},
}
# What else can be said, and nearly every claim comes from it.
MORE = [
    ("github", {"environment": "", "ref": "refs/tags/v1"}),
    ("github", {"ref-protected": "false", "issuer": "https://github.example.com/_services/token"}),
    ("gitlab", {"environment": "prod", "issuer": "https://gitlab.example.com"}),
    ("google", {"email": "ci@acme.iam.gserviceaccount.com"}),
    ("aws", {"org-id": "o-abc1234567"}),
    ("entra", {"token-version": "1.0", "client-id": ""}),
    ("hcp-terraform", {"run-phase": "plan", "issuer": "https://tfe.example.com"}),
    ("bitbucket", {"environment-uuid": f"{{{UUID[:-1]}0}}"}),
]


def described(name: str, more: dict[str, str]) -> tuple[Service, dict[str, object]]:
    """Return a service, and the claims of a workload of it that is described."""
    (service,) = (service for service in SERVICES if service.name == name)
    usual = {field.name: field.usual for field in service.fields if field.usual is not None}
    assert service.claims is not None
    return service, {**service.claims({**usual, **SAID[name], **more}), "aud": "https://sts.example.com"}


def assert_pins(claims: Any, service: Service | None = None, algorithm: str = "RS256") -> None:  # noqa: ANN401
    """Assert that what is made for the claims allows them and nobody near them."""
    written = made(claims, service, algorithm=algorithm)
    policy = policy_of(written)
    granted = verdict(policy, claims, algorithm)
    assert isinstance(granted, Grant)
    assert granted.tags == ("tag:ci",)
    allowing, *denying = examples_of(written)
    assert (allowing["expect"], verdict(policy, allowing["claims"], algorithm)) == ("allow", granted)
    assert len(denying) >= 3
    for test in denying:
        refused = verdict(policy, test["claims"], algorithm)
        assert isinstance(refused, Refusal), test["name"]
        assert (test["expect"], refused.reason) == ("deny", test["reason"]), test["name"]
        # As a change to the token itself, with all of its claims, too.
        assert isinstance(verdict(policy, {**claims, **test["claims"]}, algorithm), Refusal), test["name"]


@pytest.mark.parametrize("name", names())
def test_a_token_of_each_issuer(name: str) -> None:
    """The policy made for a token allows it with its tags, and denies at least three near ones, with these reasons."""
    claims = fixture(name).claims
    assert recognise(claims).name == SERVICE_OF[name]
    assert_pins(claims)


@pytest.mark.parametrize("name", names())
def test_strict(name: str) -> None:
    """`tailsts check --strict` has nothing against it."""
    assert codes(made(fixture(name).claims)) == set()


def test_i01_requests_are_said_to_be_what_they_are() -> None:
    """I-01: who makes a policy for a pull or merge request is told that nobody has reviewed its code."""
    for name in ("github-pull-request", "gitlab-merge-request"):
        assert any("nobody has reviewed" in warning for warning in made(fixture(name).claims).warnings)
    target = {**fixture("github").claims, "event_name": "pull_request_target"}
    assert any("pull_request_target" in warning for warning in made(target).warnings)


@pytest.mark.parametrize("name", names())
def test_its_tests_pass(name: str) -> None:
    """The tests that come with a policy are read without fault, and pass."""
    written = made(fixture(name).claims)
    page = Page("p.test.toml", written.tests)
    trials = read_trials(page, lambda _: b"")
    assert page.findings == []
    generation = assemble([policy_of(written)], "d")
    assert [""] * len(trials) == [run(trial, generation, NOW).fault for trial in trials]


@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in SAID), *MORE])
def test_a_workload_that_is_described(name: str, more: dict[str, str]) -> None:
    """Without a token, what is said of a workload makes the same kind of policy, and the claims are of that service."""
    service, claims = described(name, more)
    assert recognise(claims) == service
    assert_pins(claims, service, service.algorithm)
    assert codes(made(claims, service, algorithm=service.algorithm)) == set()


def test_every_service_is_described() -> None:
    """Each service has its fields, whose names no other field of it has."""
    assert {service.name for service in SERVICES} == SAID.keys()
    for service in SERVICES:
        assert len({field.name for field in service.fields}) == len(service.fields)
        assert SAID[service.name].keys() >= {field.name for field in service.fields if field.usual is None}


def test_i05_both_forms_of_github_subjects() -> None:
    """I-05, I-06, I-07: the subject is not looked at: whatever its form, the policy is the same."""
    plain = made(fixture("github").claims)
    assert made(fixture("github-immutable").claims).policy == plain.policy
    customised = {**fixture("github").claims, "sub": "repository_owner_id:123456:repository_id:456789"}
    assert made(customised).policy == plain.policy
    assert draft_of(plain).subject is None


def test_a_pull_request_has_its_subject() -> None:
    """The pull request among the tests has the subject that GitHub gives it; with an environment, that of it."""
    for name, subject in (
        ("github", "repo:octo-org/octo-repo:pull_request"),
        ("github-immutable", "repo:octo-org@123456/octo-repo@456789:pull_request"),
        ("github-environment", fixture("github-environment").claims["sub"]),
    ):
        (found,) = [each for each in examples_of(made(fixture(name).claims)) if "pull request" in each["name"]]
        assert found["claims"]["sub"] == subject


def test_no_comment_ends_with_a_blank() -> None:
    """Comments end with their last word, whatever starts the job."""
    for event in ("push", "pull_request_target"):
        text = made({**fixture("github").claims, "event_name": event}).policy
        assert not [line for line in text.splitlines() if line.endswith(" ")]


def test_i04_a_name_that_was_taken_over() -> None:
    """I-04: a token with the same names and another id is denied."""
    policy = policy_of(made(fixture("github").claims))
    taken_over = {**fixture("github").claims, "repository_id": "999", "repository_owner_id": "998"}
    assert isinstance(verdict(policy, taken_over), Refusal)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://token.actions.githubusercontent.com/octo-enterprise",
        "https://token.actions.octocorp.ghe.com",
        "https://github.example.com/_services/token",
    ],
)
def test_other_issuers_of_github(issuer: str) -> None:
    """An enterprise's own issuer, data residency and GitHub Enterprise Server are GitHub."""
    claims = {**fixture("github-environment").claims, "iss": issuer}
    assert recognise(claims).name == "github"
    assert draft_of(made(claims)).issuer == issuer
    assert_pins(claims)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("github", {"repository_id": None}),
        ("github", {"iss": "https://github.example.com"}),
        ("buildkite", {"iss": "https://buildkite.example.com"}),
        ("circleci", {"oidc.circleci.com/project-id": 1}),
        ("entra-v2", {"tid": ""}),
        ("kubernetes", {"kubernetes.io": {"namespace": "x"}}),
        ("aws", {"iss": "https://x.sts.example.com"}),
    ],
)
def test_what_is_not_known(name: str, changes: dict[str, object]) -> None:
    """A token of nobody known, or without the claims that pin one, is pinned by its subject; a warning says so."""
    claims = {**fixture(name).claims, **changes}
    assert recognise(claims) == UNKNOWN
    written = made(claims)
    assert draft_of(written).subject == claims["sub"]
    assert any("not known" in warning for warning in written.warnings)
    assert_pins(claims)


@pytest.mark.parametrize(
    ("name", "changes", "pinned"),
    [
        ("gitlab", {"iss": "https://gitlab.example.com"}, "project_id"),
        ("gitlab", {}, "ref_type"),
        ("gitlab", {"ref_type": "tag", "ref": "v1"}, "ref_type"),
        ("github", {"ref_type": "tag", "ref": "refs/tags/v1"}, "ref_type"),
        ("github", {"ref_protected": "false"}, "ref"),
        ("github", {"base_ref": None}, "ref"),
        ("github", {"event_name": "pull_request"}, "event_name"),
        ("buildkite", {"organization_id": None}, "organization_slug"),
        ("buildkite", {"pipeline_id": UUID}, "pipeline_id"),
        ("circleci", {"oidc.circleci.com/ssh-rerun": True}, "oidc.circleci.com/ssh-rerun"),
        ("circleci", {"oidc.circleci.com/vcs-origin": None}, "oidc.circleci.com/project-id"),
        ("hcp-terraform", {"terraform_run_phase": "plan"}, "terraform_run_phase"),
        ("bitbucket", {"deploymentEnvironmentUuid": None}, "repositoryUuid"),
        ("aws", {"https://sts.amazonaws.com/": {}}, None),
        ("kubernetes", {"iss": "https://cluster.example.com"}, "kubernetes.io"),
    ],
)
def test_tokens_that_say_more_or_less(name: str, changes: dict[str, object], pinned: str | None) -> None:
    """What a token leaves out is not pinned, and what it adds is, where it matters."""
    claims = {**fixture(name).claims, **changes}
    assert recognise(claims).name == SERVICE_OF[name]
    assert_pins(claims)
    paths = {path[0] for path, _ in draft_of(made(claims)).claims}
    assert pinned in paths if pinned else not paths
