"""SIGHUP: new policies at once and whole, or the old ones and a clear word about it."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import Later, eventually, http
from fakes.issuer import FakeIssuer
from fakes.policies import policy

NOT_RELOADED = "policies not reloaded: the old ones stay in force"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Deployment]:
    """Return the service with its neighbours."""
    with deployed(tmp_path) as site:
        yield site


def allow(site: Deployment, *scopes: str) -> str:
    """Let the policy allow these scopes; return its text."""
    text = policy(site.issuer.url, allowed_scopes=list(scopes))
    site.service.write_policy("infra", text)
    return text


def statuses(site: Deployment, *scopes: str) -> list[int]:
    """Return the status of an exchange for each scope."""
    return [site.service.exchange(site.issuer.token(), [scope]).status for scope in scopes]


def test_new_policies_count_at_once(site: Deployment) -> None:
    """A valid folder is in force from the next request on, and log, readiness, metrics and audit name it."""
    before = site.service.readiness()
    assert statuses(site, "dns:read", "webhooks") == [200, 403]
    allow(site, "webhooks")
    assert statuses(site, "dns:read", "webhooks") == [200, 403]
    site.service.write_policy("second", policy(site.issuer.url, allowed_scopes=["users"]))
    site.service.reload()
    assert statuses(site, "dns:read", "webhooks", "users") == [403, 200, 200]
    after = site.service.readiness()
    assert (before["status"], after["status"]) == ("ready", "ready")
    assert (before["policies"], after["policies"], after["reload_faults"]) == (1, 2, [])
    assert before["generation"] != after["generation"]
    said = site.service.log_lines("policies reloaded")[-1]
    assert (said["policies"], said["generation"]) == (2, after["generation"])
    assert site.service.metric("tailsts_policies") == 2
    assert site.service.metric("tailsts_info", generation=after["generation"]) == 1
    assert site.service.metric("tailsts_policy_reloads_total", result="ok") == 1
    answer = site.service.exchange(site.issuer.token(), ["webhooks"])
    assert site.service.event_of(answer)["generation"] == after["generation"]


def test_keys_stay_when_policies_change(site: Deployment) -> None:
    """A reload fetches no keys of issuers that it has, and those of a new one at once."""
    allow(site, "webhooks")
    with FakeIssuer() as other:
        site.service.write_policy("other", policy(other.url))
        site.service.reload()
        assert statuses(site, "webhooks") == [200]
        assert site.service.exchange(other.token()).status == 200
        assert (site.issuer.count("/jwks"), other.count("/jwks")) == (1, 1)


def test_an_issuer_that_was_removed(site: Deployment) -> None:
    """An issuer that no policy names any more is unknown from there on, and leaves readiness and gauges."""
    with FakeIssuer() as other:
        site.service.write_policy("other", policy(other.url))
        (site.service.policies / "infra.toml").unlink()
        site.service.reload()
        answer = site.service.exchange(site.issuer.token())
        assert (answer.status, site.service.event_of(answer)["reason"]) == (401, "unknown_issuer")
        assert [trust["issuer"] for trust in site.service.readiness()["trusts"]] == [other.url]
        assert f'tailsts_keys{{issuer="{site.issuer.url}"' not in site.service.metrics()


def test_p17_p18_faults_change_nothing(site: Deployment) -> None:
    """P-17: with any fault in the folder the old policies stay, and log, readiness and metrics say so until mended."""
    service = site.service
    before = service.readiness()
    good = (service.policies / "infra.toml").read_text()
    allow(site, "webhooks")
    service.write_policy("bad", 'issuer = "https://issuer.example"\nsubjet = "x"\nallowed_scopes = []\n')
    service.reload(NOT_RELOADED)
    assert statuses(site, "dns:read", "webhooks") == [200, 403]
    faults = service.readiness()["reload_faults"]
    bad = f"{service.policies}/bad.toml"
    assert faults == [
        f"{bad}:2: fault: subjet is not a key of a policy (did you mean subject?) [unknown-key]",
        f"{bad}:3: fault: allowed_scopes is an empty list [empty]",
    ]
    assert [line["finding"] for line in service.log_lines("policy") if line["level"] == "error"] == faults
    assert service.log_lines(NOT_RELOADED)[-1]["faults"] == 2
    assert (service.readiness()["status"], service.readiness()["generation"]) == ("degraded", before["generation"])
    assert service.request("GET", "/readyz", admin=True).status == 200
    assert service.metric("tailsts_policy_reloads_total", result="failed") == 1
    (service.policies / "bad.toml").unlink()
    service.write_policy("infra", good)
    service.reload()
    assert service.readiness() | {"trusts": []} == before | {"trusts": []}


def test_p18_an_empty_folder(site: Deployment) -> None:
    """P-18: without any policy left nobody is trusted; without the folder itself, nothing changes and it is said."""
    service = site.service
    moved = service.policies.with_name("moved")
    service.policies.rename(moved)
    service.reload(NOT_RELOADED)
    assert service.readiness()["reload_faults"] == [
        f"{service.policies}: fault: cannot be read: No such file or directory [folder]"
    ]
    assert statuses(site, "dns:read") == [200]
    moved.rename(service.policies)
    (service.policies / "infra.toml").unlink()
    service.reload()
    assert statuses(site, "dns:read") == [401]
    assert service.readiness()["policies"] == 0


def test_an_exchange_keeps_its_generation(site: Deployment) -> None:
    """What began under the old policies is finished under them, and the event names them."""
    answer = {"access_token": "tskey-api-late", "token_type": "Bearer", "expires_in": 3600, "scope": "dns:read"}
    site.tailscale.trouble = Later(2, http(200, json.dumps(answer).encode()))
    old = site.service.readiness()["generation"]
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(site.service.exchange, site.issuer.token(), ["dns:read"])
        eventually(lambda: len(site.tailscale.requests) == 1)
        allow(site, "webhooks")
        site.service.reload()
        assert not flying.done()
        assert statuses(site, "dns:read") == [403]
        event = site.service.event_of(flying.result())
    assert (event["outcome"], event["generation"]) == ("granted", old)
    assert site.service.readiness()["generation"] != old


def test_p17_reload_under_load(site: Deployment) -> None:
    """P-17: while policies change under load, each exchange is decided by one generation, the one that it names."""
    texts = [allow(site, "dns:read", "webhooks"), allow(site, "webhooks")]
    token = site.issuer.token()
    stopped = False

    def load(_number: int) -> None:
        while not stopped:
            site.service.exchange(token, ["dns:read"])

    allowing: dict[str, bool] = {}
    with ThreadPoolExecutor(3) as pool:
        loads = pool.map(load, range(3))
        try:
            for text in itertools.islice(itertools.cycle(texts), 20):
                site.service.write_policy("infra", text)
                site.service.reload()
                generation = site.service.log_lines("policies reloaded")[-1]["generation"]
                assert allowing.setdefault(generation, text == texts[0]) is (text == texts[0])
        finally:
            stopped = True
    assert list(loads) == [None] * 3
    original = site.service.log_lines("ready")[-1]["generation"]
    events = [event for event in site.service.events() if event["generation"] != original]
    seen = {(event["generation"], event["outcome"]) for event in events}
    assert seen == {(generation, "granted" if allows else "refused") for generation, allows in allowing.items()}
    assert len(allowing) == 2
