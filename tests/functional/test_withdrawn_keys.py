"""Keys in a file that a policy names: those that were taken out of it count no longer than until the next reload."""

import json
from pathlib import Path

import pytest

from fakes.http import eventually
from fakes.issuer import Issuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale

WATCHED = ("--no-watch",)
FILE_POLICY = {"jwks_url": None, "audience": "https://sts.example.com"}


def put(path: Path, issuer: Issuer) -> None:
    """Write the keys of the issuer, at once and whole."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(issuer.jwks()))
    new.rename(path)


@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "SIGHUP"])
@pytest.mark.parametrize("place", ["policies/keys/keys.json", "keys.json"])
def test_n06_a_withdrawn_key(tmp_path: Path, tailscale: FakeTailscale, place: str, is_watched: bool) -> None:
    """N-06: a key that was withdrawn grants nothing after the reload, and the generation has another name.

    Also of a file out of the folder, which is not watched: a signal says that it has changed.
    """
    issuer = Issuer("https://air-gapped.example")
    old = issuer.token()
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, issuer)
    policies = {"file": policy(issuer.url, **{**FILE_POLICY, "jwks_file": str(path)})}
    with Service(tmp_path, policies, tailscale, without=WATCHED if is_watched else ()) as service:
        service.wait_for_keys()
        answer = service.exchange(old)
        before = service.event_of(answer)["generation"]
        assert answer.status == 200
        issuer.numbers[:] = [1]
        put(path, issuer)
        if is_watched and "policies" in place:
            eventually(lambda: service.readiness()["generation"] != before)
        else:
            service.reload()
        answer = service.exchange(old)
        event = service.event_of(answer)
        assert (answer.status, event["reason"]) == (401, "unknown_key")
        assert (event["generation"] != before, event["generation"]) == (True, service.readiness()["generation"])
        assert service.exchange(issuer.token()).status == 200


def test_keys_that_did_not_change(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """A reload that finds the same keys costs them nothing: they are not read again, and tokens go on."""
    issuer = Issuer("https://air-gapped.example")
    policies = {"file": policy(issuer.url, **{**FILE_POLICY, "jwks_file": "keys.json"})}
    service = Service(tmp_path, policies, tailscale)
    put(service.policies / "keys.json", issuer)
    with service:
        service.wait_for_keys()
        service.write_policy("second", policy("https://other.example"))
        service.reload()
        assert service.exchange(issuer.token()).status == 200
        assert len([line for line in service.log_lines("keys fetched") if line["issuer"] == issuer.url]) == 1
