"""Issuers that break off, lie about lengths, dawdle, change their keys all the time or show an expired certificate."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fakes.chaotic import odd, spoilt
from fakes.deployment import deployed
from fakes.http import Reply, Request, ScriptedServer, eventually, http
from fakes.issuer import FakeIssuer, Issuer, key_pair
from fakes.policies import policy
from fakes.service import Service, unused_port
from fakes.tailscale import FakeTailscale
from fakes.tls import Authority

# A fetch may take 5 s, and after failures it is tried again each 30 s at least.
RECOVERY = 40.0


@contextmanager
def issuers(names: list[str]) -> Iterator[dict[str, FakeIssuer]]:
    """Run an issuer for each name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(FakeIssuer()) for name in names}


def test_n04_n05_lies_and_recovery(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """N-04, N-05: whatever an issuer sends, a key that is known goes on; one that is new is a 503, then learnt."""
    key_set = json.dumps(Issuer("", numbers=[0, 1]).jwks()).encode()
    lies = spoilt(key_set)
    with issuers([*lies]) as running:
        policies = {name.replace(" ", "-").replace(",", ""): policy(each.url) for name, each in running.items()}
        with Service(tmp_path, policies, tailscale) as service:
            service.wait_for_keys()
            old = {name: each.token() for name, each in running.items()}
            for name, each in running.items():
                each.rotate()
                each.trouble = lies[name]

            def suffer(name: str) -> tuple[int, ...]:
                new = running[name].token()
                return tuple(service.exchange(token).status for token in (old[name], new, old[name], new, old[name]))

            with ThreadPoolExecutor(len(running)) as pool:
                outcomes = dict(zip(running, pool.map(suffer, running), strict=True))
            assert outcomes == dict.fromkeys(lies, (200, 503, 200, 503, 200))
            for each in running.values():
                each.trouble = None
            for each in running.values():
                eventually(lambda each=each: service.exchange(each.token()).status == 200, RECOVERY)  # type: ignore[misc]
            assert {trust["keys"] for trust in service.readiness()["trusts"]} == {2}


def test_n05_odd_key_sets(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """N-05: a key set that comes in an unusual way, and whole, is as good as any other."""
    key_set = json.dumps(Issuer("").jwks()).encode()
    ways = odd(key_set)
    with issuers([*ways]) as running:
        for name, each in running.items():
            each.trouble = ways[name]
        policies = {name.replace(" ", "-"): policy(each.url) for name, each in running.items()}
        with Service(tmp_path, policies, tailscale) as service:
            service.wait_for_keys()
            statuses = {name: service.exchange(each.token()).status for name, each in running.items()}
    assert statuses == dict.fromkeys(ways, 200)


def test_n06_keys_that_change_all_the_time(tmp_path: Path) -> None:
    """N-06: an issuer with another key at each fetch is asked once in a cool-down, and harms only its own tokens."""
    with deployed(tmp_path) as site, FakeIssuer() as restless:
        numbers = iter(range(1, 10**6))

        def another(_request: Request) -> Reply:
            return http(200, json.dumps(Issuer("", numbers=[next(numbers)]).jwks()).encode())

        restless.trouble = another
        site.service.write_policy("restless", policy(restless.url))
        site.service.reload()
        eventually(lambda: restless.count("/jwks") > 0)
        for number in range(1, 9):
            key_pair("RS256", number)
        tokens = [Issuer(restless.url, numbers=[number]).token() for number in range(1, 9)]
        statuses = [site.service.exchange(token).status for token in tokens * 3]
        assert set(statuses) <= {200, 401}
        assert 200 in statuses
        assert restless.count("/jwks") <= 3
        assert site.service.exchange(site.issuer.token()).status == 200


def serving(issuer: Issuer) -> ScriptedServer:
    """Return what hands out the keys of an issuer."""
    return ScriptedServer(lambda _request: http(200, json.dumps(issuer.jwks()).encode()))


def test_n13_an_expired_certificate(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """N-13: keys behind a certificate that has expired are none: 503, others go on; with a new one all is well."""
    authority, port = Authority(), unused_port()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    keys = Issuer(f"https://localhost:{port}")
    policies = {"infra": policy(issuer.url), "expired": policy(keys.url)}
    options = ["--ca-file", str(tmp_path / "ca.pem")]
    server = serving(keys)
    server.port, server.tls = port, authority.server_context(tmp_path, days=-1)
    with Service(tmp_path, policies, tailscale, options) as service:
        with server:
            eventually(lambda: service.exchange(issuer.token()).status == 200)
            answer = service.exchange(keys.token())
            assert (answer.status, service.event_of(answer)["reason"]) == (503, "keys_unavailable")
            faults = [str(trust["fault"]) for trust in service.readiness()["trusts"] if trust["issuer"] == keys.url]
            assert "certificate expired" in faults[0]
            assert server.requests == []
        renewed = serving(keys)
        renewed.port, renewed.tls = port, authority.server_context(tmp_path)
        with renewed:
            eventually(lambda: service.exchange(keys.token()).status == 200, RECOVERY)
