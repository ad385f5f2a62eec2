"""Policies that an Open Policy Agent must agree to, with an agent that answers as told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.deployment import Deployment
from fakes.http import CLOSE, HANG, RESET, Endless, Reply, Request, ScriptedServer, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale

DATA = "/v1/data/tailsts/allow"
YES, NO = http(200, b'{"result": true}'), http(200, b'{"result": false}')


class Agent(ScriptedServer):
    """An agent that gives the answer that it is told to."""

    def __init__(self) -> None:
        super().__init__(self._respond)
        self.answer: Reply | Callable[[Request], Reply] = YES

    @property
    def inputs(self) -> list[dict[str, object]]:
        """Return what it was asked about, each time."""
        return [json.loads(request.body)["input"] for request in self.requests]

    def _respond(self, request: Request) -> Reply:
        assert (request.method, request.path) == ("POST", DATA)
        assert request.headers["content-type"] == "application/json"
        return self.answer(request) if callable(self.answer) else self.answer


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """Return an agent."""
    with Agent() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, agent: Agent) -> Iterator[Deployment]:
    """Return a service with two policies that need the agent's yes; no test here changes it."""
    opa = f'[opa]\nurl = "http://127.0.0.1:{agent.port}{DATA}"\n'
    with FakeIssuer() as issuer, FakeTailscale() as tailscale:
        tagged = policy(issuer.url, allowed_scopes=["auth_keys", "users"], allowed_tags=["tag:ci"])
        policies = {"infra": policy(issuer.url) + opa, "tagged": tagged + opa, "users": policy(issuer.url) + opa}
        policies["users"] = policies["users"].replace("policy_file", "users")
        with Service(tmp_path_factory.mktemp("opa"), policies, tailscale) as service:
            service.wait_for_keys()
            yield Deployment(service, issuer, tailscale)


def test_yes(site: Deployment, agent: Agent) -> None:
    """With the agent's yes a token is minted; it was asked about the claims, scopes, tags and the policy, once."""
    agent.answer = YES
    agent.requests.clear()
    token = site.issuer.token(jti="j", x={"y": [1]})
    answer = site.service.exchange(token, ["auth_keys"])
    assert (answer.status, site.service.event_of(answer)["granted_tags"]) == (200, ["tag:ci"])
    (asked,) = agent.inputs
    claims = asked.pop("claims")
    assert asked == {"scopes": ["auth_keys"], "tags": ["tag:ci"], "policy": "tagged"}
    assert isinstance(claims, dict)
    assert (claims["iss"], claims["jti"], claims["x"]) == (site.issuer.url, "j", {"y": [1]})
    assert not [part for part in token.split(".") if part in str(agent.requests)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"result": false}',
        b"{}",
        b'{"result": "true"}',
        b'{"result": 1}',
        b'{"result": {"allow": true}}',
        b'{"result": null}',
        b'{"result": true, "result": false}',
        b"true",
        b"[]",
        b"garbage",
        b"",
    ],
)
def test_anything_but_true_is_a_no(site: Deployment, agent: Agent, body: bytes) -> None:
    """An undefined rule, another value, or no JSON is a refusal with that reason, and nothing is minted."""
    agent.answer = http(200, body)
    minted = len(site.tailscale.requests)
    answer = site.service.exchange(site.issuer.token())
    decision = answer.headers["X-Decision-Id"]
    assert (answer.status, answer.text) == (403, f"denied: not allowed by Open Policy Agent (decision {decision})\n")
    event = site.service.event_of(answer)
    assert (event["outcome"], event["reason"], event["policy"]) == ("refused", "opa_not_allowed", "infra")
    assert event["misses"][0]["key"] == "opa"
    assert len(site.tailscale.requests) == minted


REDIRECT = http(307, b"", Location="http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "trouble",
    [
        CLOSE,
        RESET,
        HANG,
        http(500, b'{"result": true}'),
        http(404, b"{}"),
        REDIRECT,
        Endless(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    ],
    ids=["closes", "resets", "hangs", "fails", "not found", "redirects", "endless"],
)
def test_an_agent_that_gives_no_answer(site: Deployment, agent: Agent, trouble: Reply) -> None:
    """An agent that is down, silent or fails is no refusal: 503, to be tried again, and nothing is minted."""
    agent.answer = trouble
    minted = len(site.tailscale.requests)
    answer = site.service.exchange(site.issuer.token())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    event = site.service.event_of(answer)
    assert (event["outcome"], event["reason"]) == ("unavailable", "opa_unavailable")
    assert "policy infra" in event["detail"]
    assert str(agent.port) not in answer.text
    assert len(site.tailscale.requests) == minted
    agent.answer = YES
    assert site.service.exchange(site.issuer.token()).status == 200


def test_it_is_asked_last(site: Deployment, agent: Agent) -> None:
    """What a policy's own checks refuse, and what nobody verified, the agent never hears of."""
    agent.answer = YES
    agent.requests.clear()
    refused = [
        site.service.exchange(site.issuer.token(), ["dns"]),
        site.service.exchange(site.issuer.token(sub="x")),
        site.service.exchange(site.issuer.token(aud="x")),
        site.service.exchange(site.issuer.token(exp=1)),
        site.service.exchange(site.issuer.token(header={"kid": "x"})),
    ]
    assert [answer.status for answer in refused] == [403, 403, 403, 401, 401]
    assert agent.requests == []


def test_the_next_policy_may_allow_it(site: Deployment, agent: Agent) -> None:
    """A no is about one policy: the next one that would allow the request asks for itself."""
    agent.answer = lambda request: YES if b'"policy":"users"' in request.body else NO
    agent.requests.clear()
    answer = site.service.exchange(site.issuer.token(), ["users"])
    assert (answer.status, site.service.event_of(answer)["policy"]) == (200, "users")
    assert [asked["policy"] for asked in agent.inputs] == ["tagged", "users"]
    assert site.service.metric("tailsts_stage_seconds_count", stage="opa") > 0


def test_an_agent_that_is_down_stops_its_own_policies_alone(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale
) -> None:
    """Where another policy allows the request, it is granted by that one, and the event says which agent is down."""
    opa = f'[opa]\nurl = "http://127.0.0.1:9{DATA}"\n'
    policies = {"a": policy(issuer.url, allowed_scopes=["users", "dns:read"]) + opa, "b": policy(issuer.url)}
    with Service(tmp_path, policies, tailscale) as service:
        service.wait_for_keys()
        answer = service.exchange(issuer.token(), ["dns:read"])
        event = service.event_of(answer)
        assert (answer.status, event["policy"], event["outcome"]) == (200, "b", "granted")
        assert event["detail"].startswith("the Open Policy Agent of policy a (")
        assert service.exchange(issuer.token(), ["users"]).status == 503
        assert service.exchange(issuer.token(), ["auth_keys"]).status == 403
