"""The exchange and what it hands out: tags, named policies, tailnets, and what an Open Policy Agent says."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.http import HANG, Reply, Request, ScriptedServer, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.errors import OpaUnavailableError, TailscaleAnswerError
from tailsts.outcome import (
    Minted,
    Outcome,
)
from tailsts.policy.condition import Check
from unit.exchanging import Site, exchanging, refused

TAGGED = ["auth_keys", "dns:read"]


@pytest.fixture
def prod() -> Iterator[FakeTailscale]:
    """Return the Tailscale of a second tailnet."""
    with FakeTailscale() as running:
        yield running


@pytest.fixture
async def site(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, prod: FakeTailscale
) -> AsyncIterator[Site]:
    """Return an exchange with policies of two tailnets."""
    policies = {
        "a-tagged": policy(issuer.url, allowed_scopes=TAGGED, allowed_tags=["tag:ci", "tag:build"]),
        "b-plain": policy(issuer.url, allowed_scopes=["auth_keys", "policy_file"]),
        "c-prod": policy(issuer.url, allowed_scopes=["users", "auth_keys"], allowed_tags=["tag:p"], tailnet="prod"),
        "d-other": policy(issuer.url, subject="somebody else", allowed_scopes=["dns:read"]),
    }
    tailscale.tags = prod.tags = "tag:everything"
    async with exchanging(tmp_path / "policies", policies, tailscale, prod=prod) as site:
        yield site


def got(outcome: Outcome) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the policy of a token, and its scopes and tags as Tailscale said."""
    assert isinstance(outcome, Minted), outcome
    return outcome.grant.policy, outcome.token.scopes, outcome.token.tags


@pytest.mark.parametrize(
    ("scopes", "tags", "sent"),
    [
        (("dns:read",), (), None),
        (("dns:read",), ("tag:ci",), "tag:ci"),
        (("auth_keys",), ("tag:ci",), "tag:ci"),
        (("auth_keys",), (), "tag:build tag:ci"),
        (("auth_keys", "dns:read"), ("tag:ci", "tag:build"), "tag:ci tag:build"),
    ],
)
async def test_u07_tags(
    site: Site,
    issuer: FakeIssuer,
    tailscale: FakeTailscale,
    scopes: tuple[str, ...],
    tags: tuple[str, ...],
    sent: str | None,
) -> None:
    """U-07: tags go to Tailscale as asked; a scope that needs some gets the policy's; the event has both lists."""
    if sent is None:
        tailscale.tags = ""
    policy_name, _, granted = got(await site.ask(issuer.token(), *scopes, tags=tags))
    assert (policy_name, tailscale.asked("tags")) == ("a-tagged", [sent])
    assert granted == tuple((sent or "").split())
    (event,) = site.events
    assert event.get("requested_tags", []) == list(tags)
    assert event.get("granted_tags", []) == list(granted)


@pytest.mark.parametrize("tags", [("tag:other",), ("tag:ci", "tag:other"), ("tag:CI",)])
async def test_u07_tags_beyond_the_policy(
    site: Site, issuer: FakeIssuer, tailscale: FakeTailscale, tags: tuple[str, ...]
) -> None:
    """U-07: a tag that no policy allows is refused before Tailscale hears of it."""
    assert refused(await site.ask(issuer.token(), "auth_keys", tags=tags)) == (Check.TAG, "a-tagged")
    assert site.events[0]["misses"][0] == {
        "policy": "a-tagged",
        "check": "tag",
        "key": "allowed_tags",
        "expected": "within tag:build, tag:ci",
        "actual": ", ".join(tags),
        "detail": f"not allowed: {', '.join(tag for tag in tags if tag != 'tag:ci')}",
    }
    assert tailscale.connections == 0


async def test_u07_tailscale_grants_more_tags(site: Site, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """U-07: a token with other tags than those asked for is not handed out."""
    tailscale.heeds_tags = False
    outcome = await site.ask(issuer.token(), "auth_keys", tags=("tag:ci",))
    assert isinstance(outcome, TailscaleAnswerError)
    assert site.events[0]["reason"] == "tailscale_answer"


async def test_a_named_policy(site: Site, issuer: FakeIssuer) -> None:
    """A request that names its policy is granted under that one alone, and the event says which was named."""
    token = issuer.token()
    assert got(await site.ask(token, "auth_keys", policy="c-prod"))[0] == "c-prod"
    assert refused(await site.ask(token, "dns:read", policy="b-plain")) == (Check.SCOPE, "b-plain")
    assert refused(await site.ask(token, "dns:read", policy="d-other")) == (Check.SUBJECT, "d-other")
    assert refused(await site.ask(token, "dns:read", policy="none")) == (Check.POLICY, None)
    assert [(event["requested_policy"], event["reason"], event.get("policy")) for event in site.events] == [
        ("c-prod", "granted", "c-prod"),
        ("b-plain", "scope_not_allowed", "b-plain"),
        ("d-other", "subject_not_allowed", "d-other"),
        ("none", "policy_not_allowed", None),
    ]


async def test_tailnets(site: Site, issuer: FakeIssuer, tailscale: FakeTailscale, prod: FakeTailscale) -> None:
    """A token is of the tailnet of the policy that grants it, and only that tailnet is asked."""
    await site.ask(issuer.token(), "dns:read")
    await site.ask(issuer.token(), "users", tags=("tag:p",))
    await site.ask(issuer.token(), "policy_file")
    assert tailscale.scopes_asked() == ["dns:read", "policy_file"]
    assert (prod.scopes_asked(), prod.asked("tags")) == (["users"], ["tag:p"])
    assert [(event["policy"], event["tailnet"]) for event in site.events] == [
        ("a-tagged", "default"),
        ("c-prod", "prod"),
        ("b-plain", "default"),
    ]


async def test_rights_of_two_tailnets_never_add_up(site: Site, issuer: FakeIssuer) -> None:
    """Scopes of which one policy allows some in one tailnet, and another the rest in another, are refused."""
    assert refused(await site.ask(issuer.token(), "dns:read", "users"))[0] is Check.SCOPE
    assert refused(await site.ask(issuer.token(), "dns:read", tags=("tag:p",)))[0] is Check.TAG


class Agent(ScriptedServer):
    """An Open Policy Agent that answers `says`, per policy, or else `usually`."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.says: dict[str, Reply] = {}
        self.usually: Reply = http(200, b'{"result": true}')

    def of(self, issuer: FakeIssuer, **keys: object) -> str:
        """Return the text of a policy that asks this agent."""
        return policy(issuer.url, **keys) + f'[opa]\nurl = "http://127.0.0.1:{self.port}/v1/data/x"\n'

    def policies_asked(self) -> list[str]:
        """Return the policies that it was asked about."""
        return [json.loads(request.body)["input"]["policy"] for request in self.requests]

    def _answer(self, request: Request) -> Reply:
        return self.says.get(json.loads(request.body)["input"]["policy"], self.usually)


@pytest.fixture
def agent() -> Iterator[Agent]:
    """Return an Open Policy Agent."""
    with Agent() as running:
        yield running


@pytest.fixture
async def asking_site(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, agent: Agent
) -> AsyncIterator[Site]:
    """Return an exchange with two policies that ask the agent, of which the first may also give users."""
    policies = {
        "a": agent.of(issuer, allowed_scopes=["dns:read", "users"]),
        "b": agent.of(issuer, allowed_scopes=["dns:read"]),
    }
    async with exchanging(tmp_path / "policies", policies, tailscale) as site:
        yield site


NO = http(200, b'{"result": false}')


async def test_opa_says_yes(asking_site: Site, issuer: FakeIssuer, agent: Agent) -> None:
    """What the agent agrees to is granted; it is asked once, about what would be granted, and its time is noted."""
    asking_site.clock.step = 0.001
    assert got(await asking_site.ask(issuer.token(), "dns:read"))[0] == "a"
    assert agent.policies_asked() == ["a"]
    asked = json.loads(agent.requests[0].body)["input"]
    assert (asked["claims"]["sub"], asked["scopes"], asked["tags"]) == (
        "repo:acme/infra:ref:refs/heads/main",
        ["dns:read"],
        [],
    )
    assert asking_site.events[0]["opa_ms"] >= 1


async def test_opa_says_no(asking_site: Site, issuer: FakeIssuer, agent: Agent, tailscale: FakeTailscale) -> None:
    """Where the agent says no under one policy, the next one may grant; where it always does, it is refused."""
    agent.says["a"] = NO
    assert got(await asking_site.ask(issuer.token(), "dns:read"))[0] == "b"
    agent.says["b"] = http(200, b"{}")
    assert refused(await asking_site.ask(issuer.token(), "dns:read")) == (Check.OPA, "a")
    assert agent.policies_asked() == ["a", "b"] * 2
    assert asking_site.events[1]["reason"] == "opa_not_allowed"
    assert [miss["policy"] for miss in asking_site.events[1]["misses"]] == ["a", "b"]
    assert len(tailscale.requests) == 1


async def test_opa_is_not_asked_in_vain(asking_site: Site, issuer: FakeIssuer, agent: Agent) -> None:
    """Of what the policies do not allow, or of a token that is not trusted, the agent hears nothing."""
    await asking_site.ask(issuer.token(), "policy_file")
    await asking_site.ask(issuer.token(sub="other"), "dns:read")
    await asking_site.ask(issuer.token(exp=1), "dns:read")
    assert agent.connections == 0


@pytest.mark.parametrize("trouble", [http(500, b""), HANG])
async def test_opa_is_down(
    asking_site: Site, issuer: FakeIssuer, agent: Agent, tailscale: FakeTailscale, trouble: Reply
) -> None:
    """An agent that does not answer within its second is neither yes nor no: unavailable, and no token."""
    agent.usually = trouble
    outcome = await asking_site.ask(issuer.token(), "users")
    assert isinstance(outcome, OpaUnavailableError)
    (event,) = asking_site.events
    assert (event["level"], event["outcome"], event["reason"]) == ("warning", "unavailable", "opa_unavailable")
    assert event["detail"].startswith("the Open Policy Agent of policy a (")
    assert event["verified"] is True
    assert tailscale.connections == 0


async def test_opa_of_another_policy_is_down(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, agent: Agent
) -> None:
    """An agent that is down or hangs stops its own policies alone; one that is down is asked once in an exchange."""
    with Agent() as other:
        policies = {
            "a": agent.of(issuer),
            "b": agent.of(issuer),
            "c": other.of(issuer),
            "d": policy(issuer.url, allowed_scopes=["dns:read"]),
        }
        async with exchanging(tmp_path / "policies", policies, tailscale) as site:
            for trouble in (http(500, b""), HANG):
                agent.usually = trouble
                agent.requests.clear()
                assert got(await site.ask(issuer.token(), "dns:read"))[0] == "c"
                assert agent.policies_asked() == ["a"]
                assert site.events[-1]["detail"].startswith("the Open Policy Agent of policy a (")
            agent.usually, other.usually = http(500, b""), NO
            assert got(await site.ask(issuer.token(), "dns:read"))[0] == "d"
            # Whether one of its policies would have granted this, nobody knows.
            assert isinstance(await site.ask(issuer.token(), "policy_file"), OpaUnavailableError)
            assert isinstance(await site.ask(issuer.token(), "dns:read", policy="b"), OpaUnavailableError)
            assert len(tailscale.requests) == 3
