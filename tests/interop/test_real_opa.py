"""The service beside a real Open Policy Agent, whose Rego decides by claims, scopes, tags and the policy."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service, environment, is_served, unused_port
from fakes.tailscale import FakeTailscale

OPA = os.environ.get("TAILSTS_OPA", "opa")

REGO = """\
package tailsts

# No default: where no rule holds, the answer is undefined.
allow if {
\tinput.claims.repository_id == "42"
\tevery scope in input.scopes { scope in {"dns:read", "auth_keys"} }
\tevery tag in input.tags { tag in {"tag:ci"} }
\tinput.policy == "infra"
}

allow := false if input.claims.repository_id == "7"

allow := "yes" if input.claims.repository_id == "8"
"""


@dataclass
class Agent:
    """`opa run --server` as a process."""

    folder: Path

    def __post_init__(self) -> None:
        self.port = unused_port()
        (self.folder / "policy.rego").write_text(REGO)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        words = [OPA, "run", "--server", "--skip-version-check", "--addr", f"127.0.0.1:{self.port}"]
        with (self.folder / "opa.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*words, str(self.folder / "policy.rego")], stdout=log, stderr=log, env=environment()
            )
        eventually(lambda: is_served(self.port) or self._process.poll() is not None, 30)
        assert self._process.poll() is None, (self.folder / "opa.log").read_text()

    def kill(self) -> None:
        """Kill it, as a machine that fails does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


@dataclass(frozen=True)
class Site:
    """The service, its agent and its issuer."""

    service: Service
    agent: Agent
    issuer: FakeIssuer

    def outcome(self, repository_id: object, scopes: list[str], **also: object) -> tuple[int, str]:
        """Return the status of an exchange and the reason in its event."""
        answer = self.service.exchange(self.issuer.token(repository_id=repository_id), scopes, also)
        return answer.status, self.service.event_of(answer)["reason"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a service whose policies need the agent's yes."""
    with Agent(tmp_path) as agent, FakeIssuer() as issuer, FakeTailscale() as tailscale:
        opa = f'[opa]\nurl = "http://127.0.0.1:{agent.port}/v1/data/tailsts/allow"\n'
        scopes, tags = ["auth_keys", "dns:read", "users"], ["tag:ci", "tag:prod"]
        text = policy(issuer.url, allowed_scopes=scopes, allowed_tags=tags) + opa
        with Service(tmp_path, {"infra": text, "other": text}, tailscale) as service:
            service.wait_for_keys()
            yield Site(service, agent, issuer)


ALLOWED, REFUSED = (200, "granted"), (403, "opa_not_allowed")


def test_rego_decides(site: Site) -> None:
    """Claims, scopes, tags and the policy are what Rego sees; false, another value and undefined are all a no."""
    assert site.outcome("42", ["dns:read"]) == ALLOWED
    assert site.outcome("42", ["auth_keys", "dns:read"], tags=["tag:ci"]) == ALLOWED
    assert site.outcome("42", ["auth_keys"], tags=["tag:prod"]) == REFUSED
    assert site.outcome("42", ["users"]) == REFUSED
    assert site.outcome("42", ["dns:read"], policy="other") == REFUSED
    assert site.outcome("7", ["dns:read"]) == REFUSED
    assert site.outcome("8", ["dns:read"]) == REFUSED
    assert site.outcome(42, ["dns:read"]) == REFUSED
    assert site.outcome(None, ["dns:read"]) == REFUSED


def test_the_agent_is_killed(site: Site) -> None:
    """An agent that was killed is no refusal but 503, and when it is back, all is well."""
    assert site.outcome("42", ["dns:read"]) == ALLOWED
    site.agent.kill()
    assert site.outcome("42", ["dns:read"]) == (503, "opa_unavailable")
    site.agent.start()
    assert site.outcome("42", ["dns:read"]) == ALLOWED


def test_a_rule_that_does_not_exist(tmp_path: Path) -> None:
    """A URL of no rule, and one of a whole package, are a no: neither answers true."""
    with Agent(tmp_path) as agent, FakeIssuer() as issuer, FakeTailscale() as tailscale:
        for path in ("tailsts/alow", "tailsts"):
            text = policy(issuer.url) + f'[opa]\nurl = "http://127.0.0.1:{agent.port}/v1/data/{path}"\n'
            with Service(tmp_path / path.replace("/", "-"), {"infra": text}, tailscale) as service:
                service.wait_for_keys()
                assert Site(service, agent, issuer).outcome("42", ["dns:read"]) == REFUSED
