"""What the policies that are made say: the audience, the comments, and nothing that a token's text could do to them."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailsts.authoring.audience import choose
from tailsts.authoring.services import recognise
from tailsts.authoring.sketch import PLACEHOLDER_AUDIENCE, name_of, other
from tailsts.authoring.texts import Choices, refuse
from tailsts.fixtures import at, fixture
from tailsts.policy.finding import Page
from tailsts.policy.parse import parse
from unit.authoring import NOW, SCOPES, TAGS, draft_of, examples_of, made, policy_of, verdict

GITHUB = fixture("github-environment").claims
POLICY = """#:schema ./policy.schema.json
# Made by `tailsts new` for a token of GitHub Actions. All that is named here must hold.

description = "octo-org/octo-repo on GitHub, environment prod, main"
# Byte for byte as the token has it.
issuer = "https://token.actions.githubusercontent.com"
# Made for this service: a token that was made for another is refused.
audience = "https://sts.example.com"
# What may be asked for, at most: see tailscale.com/kb/1623.
allowed_scopes = ["auth_keys", "dns:read"]
# The tags that may be asked for. Scopes that need some get these.
allowed_tags = ["tag:ci"]

# No subject: GitHub writes it in two forms, and repositories choose others. These say who.
[claims]
# octo-org/octo-repo. The id stays when the name changes, and whoever takes the name over has another.
repository_id = "456789"
# octo-org. It changes with a transfer.
repository_owner_id = "123456"
# Its rules decide who may deploy. It says nothing of the branch.
environment = "prod"
# The branch. A list allows several.
ref = "refs/heads/main"
# Text, not a boolean. Whoever may push past its protection could otherwise change what runs.
ref_protected = "true"
# What starts the job. A list allows several, like "schedule". Never pull_request_target, which strangers can start.
event_name = "push"
"""


def test_the_whole_text() -> None:
    """A policy says who, what, and of each line why."""
    assert made(GITHUB, schema="./policy.schema.json").policy == POLICY


def test_choices() -> None:
    """What is chosen is in the policy; what is not has no line."""
    draft = draft_of(made(fixture("spiffe").claims, algorithm="ES256", jwks_file="keys.json", name="runner"))
    assert (draft.name, draft.algorithms, draft.jwks_file) == ("runner", frozenset({"ES256"}), "keys.json")
    written = made(fixture("kubernetes").claims, jwks_url="https://keys.example.com", ca_file="ca.pem", tags=())
    draft = draft_of(written)
    assert (draft.jwks_url, draft.ca_file, draft.allowed_tags) == ("https://keys.example.com", "ca.pem", frozenset())
    assert "#:schema" not in written.policy


def test_what_is_missing() -> None:
    """Rights are never guessed: scopes must be named, and tags for those that need some."""
    assert refuse(Choices(scopes=SCOPES, tags=TAGS)) == []
    assert refuse(Choices(scopes=("dns",))) == []
    assert [fault[-7:] for fault in refuse(Choices(scopes=()))] == ["--scope"]
    assert [fault[-5:] for fault in refuse(Choices(scopes=("devices:core",)))] == ["--tag"]


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("github", "https://github.com/octo-org"),
        ("github", "sts.amazonaws.com"),
        ("github", "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"),
        ("gitlab", "https://gitlab.com"),
        ("buildkite", "https://buildkite.com/acme-inc"),
        ("circleci", "9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b17"),
        ("eks", "sts.amazonaws.com"),
        ("kubernetes", "https://kubernetes.default.svc.cluster.local"),
        ("entra-v2", "https://graph.microsoft.com"),
        ("fly", "https://fly.io/example-org"),
        ("bitbucket", "ari:cloud:bitbucket::workspace/e2b9cba7-4ecf-452c-bb1c-87add4084c99"),
        ("hcp-terraform", "aws.workload.identity"),
    ],
)
def test_the_audience_of_another_service(name: str, usual: str) -> None:
    """An audience that was made for another service is never pinned: a placeholder is, and whoever asked is told."""
    claims = {**fixture(name).claims, "aud": usual}
    written = made(claims)
    assert draft_of(written).audiences == {PLACEHOLDER_AUDIENCE}
    assert f'The token had "{usual}"'[:100] in written.policy
    assert any("--audience" in warning for warning in written.warnings)
    own = made(claims, audience="https://sts.acme.example")
    assert draft_of(own).audiences == {"https://sts.acme.example"}
    assert not any("--audience" in warning for warning in own.warnings)
    # The token as it is would be denied; with the audience that it is told to ask for it is allowed.
    assert verdict(policy_of(own), claims) != verdict(policy_of(own), examples_of(own)[0]["claims"])
    assert examples_of(own)[0]["claims"]["aud"] == "https://sts.acme.example"


@pytest.mark.parametrize(
    ("audience", "named", "wanted", "asked"),
    [
        ("https://sts.example.com", None, "https://sts.example.com", False),
        ("https://sts.example.com", "https://sts.example.com", "https://sts.example.com", False),
        ("https://sts.example.com", "x", "x", True),
        (["https://github.com/octo-org", "https://mine", "https://other"], None, "https://mine", False),
        ([], None, PLACEHOLDER_AUDIENCE, True),
        ([1, ""], None, PLACEHOLDER_AUDIENCE, True),
        (None, "x", "x", True),
        ("https://github.com/octo-org", "https://github.com/octo-org", "https://github.com/octo-org", False),
    ],
)
def test_which_audience(audience: object, named: str | None, wanted: str, asked: bool) -> None:
    """The one that is named, else the token's first own one; and another one, to be denied, that is not the same."""
    claims = {**GITHUB, "aud": audience}
    chosen = choose(recognise(claims), claims, named)
    assert (chosen.wanted, chosen.asked) == (wanted, asked)
    assert chosen.unwanted != chosen.wanted


@pytest.mark.parametrize(
    ("lifetime", "expected"), [(86_400, 86_400), (86_401, 90_000), (86_700.5, 90_000), (1e9, 31_622_400)]
)
def test_long_lives(lifetime: float, expected: int) -> None:
    """Of a token that lives longer than a day, whole hours are allowed; for others nothing is said."""
    written = made({**fixture("entra-v1").claims, "iat": NOW, "exp": NOW + lifetime})
    assert draft_of(written).max_lifetime == expected
    assert ("max_lifetime" in written.policy) is (expected > 86_400)


def test_a_life_that_is_for_another_service_says_nothing() -> None:
    """How long a token for another service lives does not matter, and neither do times that are none."""
    claims = {**fixture("eks").claims, "aud": "sts.amazonaws.com", "iat": NOW, "exp": NOW + 10**7}
    assert draft_of(made(claims)).max_lifetime == 86_400
    assert draft_of(made({**GITHUB, "iat": None})).max_lifetime == 86_400


def test_p20_a_token_cannot_write_its_own_policy() -> None:
    """P-20: names that a token holds end no line, comment or string: the policy is what it is without them."""
    hostile = 'x"\nany_subject = true\n# \x1b[2J'
    usual = draft_of(made(GITHUB))
    for name in ("repository", "repository_owner"):
        written = made({**GITHUB, name: hostile}, name=usual.name)
        assert all(line.isprintable() for line in (written.policy + written.tests).split("\n"))
        draft = draft_of(written)
        assert (draft.claims, draft.any_subject, draft.subject) == (usual.claims, False, None)
        assert draft.description.isprintable()


@given(
    st.dictionaries(st.sampled_from(["repository", "repository_owner", "environment", "ref", "event_name"]), st.text())
)
def test_p20_whatever_the_names_are(changes: dict[str, str]) -> None:
    """P-20: whatever text the claims hold, the policy is read as it is meant, and its tests are."""
    claims = {**GITHUB, **changes}
    written = made(claims)
    page = Page("p.toml", written.policy)
    parse(written.name, page)
    # A claim may be longer than one that a policy can hold.
    assert {finding.code for finding in page.findings} <= {"length"}
    assert written.name.replace("-", "").isalnum()
    assert written.name.isascii()
    tables = tomllib.loads(written.tests)["test"]
    assert isinstance(tables, list)


@given(st.text(min_size=1))
def test_another_value_is_another(value: str) -> None:
    """What stands for somebody else's value is never the value itself."""
    assert other(value) != value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("456789", "456790"),
        ("0", "0-2"),
        ("9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b17", "9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b10"),
        ("{9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b10}", "{9b5e4c1a-7d20-4f6b-8c31-2ea90f5d4b11}"),
        ("main", "main-2"),
    ],
)
def test_another_value(value: str, expected: str) -> None:
    """It is of the same kind: a number, an id in braces or without, a name."""
    assert other(value) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("Acme/Infra", "prod"), "acme-infra-prod"),
        (("", ""), "policy"),
        (("\u00e9/..",), "policy"),
        (("a" * 59 + "/b",), "a" * 59),
    ],
)
def test_names(parts: tuple[str, ...], expected: str) -> None:
    """A policy's name is made of words, and can be a file's."""
    assert name_of(*parts) == expected


def test_tests_hold_what_matters() -> None:
    """The claims of a test are those that the policy looks at, and what its neighbours change: nobody's email."""
    written = made(at(fixture("gitlab").claims, NOW))
    for test in examples_of(written):
        assert test["claims"].keys() == {
            *("iss", "sub", "aud", "project_id", "namespace_id", "job_project_id", "environment"),
            *("ref", "ref_type", "ref_protected", "pipeline_source"),
        }
        assert (test["scopes"], test["request_policy"]) == (list(SCOPES), written.name)


def test_tests_of_other_algorithms() -> None:
    """A test says how the token is signed where that is not the usual way."""
    written = made(fixture("spiffe").claims, algorithm="ES256")
    assert {"ES256"} == {test["algorithm"] for test in examples_of(written)}
    assert "algorithm" not in made(fixture("spiffe").claims).tests
