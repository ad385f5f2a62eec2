"""Ten thousand policies over a hundred issuers: started, indexed, served."""

import json
from pathlib import Path

from fakes.http import ScriptedServer, eventually, http
from fakes.issuer import Issuer, jwk, key_pair
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale

ISSUERS, POLICIES = 100, 10_000


def test_ten_thousand_policies(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """Each of 10,000 policies counts for its own issuer and subject, and each issuer's keys are fetched once."""
    keys = json.dumps({"keys": [jwk(key_pair("RS256"), "key-RS256-0", alg="RS256")]}).encode()
    with ScriptedServer(lambda _request: http(200, keys)) as server:
        url = f"http://127.0.0.1:{server.port}"
        issuers = [Issuer(f"{url}/{number}") for number in range(ISSUERS)]
        policies = {
            f"policy-{number:05d}": policy(issuers[number % ISSUERS].url, subject=f"workload-{number}")
            for number in range(POLICIES)
        }
        with Service(tmp_path, policies, tailscale) as service:
            service.wait_for_keys()
            assert (service.readiness()["policies"], len(service.readiness()["trusts"])) == (POLICIES, ISSUERS)
            for number in (0, 1, 99, 100, 5_000, 9_998, 9_999):
                own, other = issuers[number % ISSUERS], issuers[(number + 1) % ISSUERS]
                granted = service.exchange(own.token(sub=f"workload-{number}"))
                assert granted.status == 200
                assert service.event_of(granted)["policy"] == f"policy-{number:05d}"
                assert service.exchange(other.token(sub=f"workload-{number}")).status == 403
            assert service.exchange(issuers[0].token(sub="workload-10000")).status == 403
            service.write_policy("policy-00000", policy(issuers[0].url, subject="somebody else"))
            service.reload()
            assert service.exchange(issuers[0].token(sub="workload-0")).status == 403
            assert service.exchange(issuers[0].token(sub="somebody else")).status == 200
        eventually(lambda: len(server.requests) == ISSUERS)
        assert {server.count(f"/{number}/jwks") for number in range(ISSUERS)} == {1}
