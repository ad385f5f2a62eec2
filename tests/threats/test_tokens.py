"""Threats of tokens from end to end, against the service as a process: those that no other test is named after."""

from collections.abc import Iterator

import pytest

from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale

OWNER, REPOSITORY = "123456", "456789"


def claims(**named: str) -> str:
    """Return the table of a policy's claims."""
    return "[claims]\n" + "".join(f'{name} = "{value}"\n' for name, value in named.items())


@pytest.fixture(scope="module")
def policies() -> dict[str, str]:
    """Return the keys of policies that look at claims, by name."""
    return {
        "by-id": claims(repository_owner_id=OWNER, repository_id=REPOSITORY),
        "by-environment": claims(environment="prod:eu"),
        "by-azp": claims(azp="our-client"),
    }


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, policies: dict[str, str], github: FakeIssuer
) -> Iterator[Service]:
    """Return a service with these policies; each takes any subject."""
    texts = {name: policy(github.url, subject=None, any_subject=True) + table for name, table in policies.items()}
    with FakeTailscale() as tailscale, Service(tmp_path_factory.mktemp("tokens"), texts, tailscale) as running:
        running.wait_for_keys()
        yield running


@pytest.fixture(scope="module")
def github() -> Iterator[FakeIssuer]:
    """Return an issuer that speaks like a forge."""
    with FakeIssuer() as running:
        yield running


def status(service: Service, token: str, named: str) -> int:
    """Return the status of an exchange under the policy of that name."""
    return service.exchange(token, ["dns:read"], {"policy": named}).status


def test_j17_data_after_the_claims(service: Service, github: FakeIssuer) -> None:
    """J-17: a well signed token with a second object after its claims, or anything else there, is no token."""
    good = b'{"iss":"%s","sub":"s","aud":"https://sts.example.com","exp":9999999999}' % github.url.encode()
    for tail in (b"{}", b" {}", b",", b"\0", b"]", b'{"sub":"x"}'):
        answer = service.exchange(github.keys.token_over(good + tail))
        assert answer.status == 401
        assert service.event_of(answer)["reason"] == "malformed_token"


def test_j19_made_for_another_client(service: Service, github: FakeIssuer) -> None:
    """J-19: the audience of another client is refused, and so is the right one with another authorized party."""
    ours = {"aud": "https://sts.example.com", "azp": "our-client"}
    for changes, expected in (
        ({}, 200),
        ({"aud": "1234-abc.apps.googleusercontent.com"}, 403),
        ({"aud": ["1234-abc.apps.googleusercontent.com"]}, 403),
        ({"azp": "their-client"}, 403),
        ({"azp": None}, 403),
        ({"azp": ["our-client"]}, 403),
        ({"nonce": "n"}, 200),
    ):
        assert expected == status(service, github.token(header=None, **{**ours, **changes}), "by-azp")


@pytest.mark.parametrize(
    "subject",
    [
        f"repo:octo-org@{OWNER}/octo-repo@{REPOSITORY}:ref:refs/heads/main",
        f"repository_owner_id:{OWNER}:repository_id:{REPOSITORY}",
        f"repo:octo-org-{OWNER}/octo-repo-{REPOSITORY}:ref:refs/heads/main",
    ],
)
def test_i06_ids_are_not_taken_out_of_a_subject(service: Service, github: FakeIssuer, subject: str) -> None:
    """I-06: a subject that spells the ids that a policy asks for is no substitute for the claims that have them."""
    theirs = {"repository_owner_id": "1", "repository_id": "2"}
    assert status(service, github.token(sub=subject), "by-id") == 403
    assert status(service, github.token(header=None, sub=subject, **theirs), "by-id") == 403


@pytest.mark.parametrize(
    "subject",
    ["repo:octo-org/octo-repo:ref:refs/heads/main", f"repository_id:{REPOSITORY}", "job_workflow_ref:x", "anything"],
)
def test_i07_rearranged_subjects(service: Service, github: FakeIssuer, subject: str) -> None:
    """I-07: however a customer has the subject put together, a policy by the id claims does not notice."""
    ours = {"repository_owner_id": OWNER, "repository_id": REPOSITORY}
    assert status(service, github.token(header=None, sub=subject, **ours), "by-id") == 200


def test_i08_colons_in_an_environment(service: Service, github: FakeIssuer) -> None:
    """I-08: an environment's name is compared as the claim has it; as the subject spells it, it is another one."""
    subject = "repo:octo-org/octo-repo:environment:prod%3Aeu"
    for environment, expected in (("prod:eu", 200), ("prod%3Aeu", 403), ("prod%3aeu", 403), ("prod", 403)):
        assert expected == status(service, github.token(sub=subject, environment=environment), "by-environment")
    assert status(service, github.token(sub=subject), "by-environment") == 403
