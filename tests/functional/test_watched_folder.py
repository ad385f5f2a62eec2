"""Policies that change while the service runs: in force within a moment and whole, or the old ones stay."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.policies import policy

WATCHED = ("--no-watch",)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Deployment]:
    """Return the service with its neighbours, watching its folder."""
    with deployed(tmp_path, without=WATCHED) as site:
        yield site


def status(site: Deployment, scope: str = "dns:read") -> int:
    """Return the status of an exchange."""
    return site.service.exchange(site.issuer.token(), [scope]).status


def with_scopes(site: Deployment, *scopes: str) -> str:
    """Return the text of the usual policy with these scopes."""
    return policy(site.issuer.url, allowed_scopes=list(scopes))


def test_a_change_comes_into_force_by_itself(site: Deployment) -> None:
    """A file that is renamed into place, written in place, added or removed counts without any signal."""
    site.service.write_policy("infra", with_scopes(site, "webhooks"))
    eventually(lambda: (status(site), status(site, "webhooks")) == (403, 200))
    (site.service.policies / "infra.toml").write_text(with_scopes(site, "users"))
    eventually(lambda: (status(site, "webhooks"), status(site, "users")) == (403, 200))
    (site.service.policies / "second.toml").write_text(with_scopes(site, "dns:read"))
    eventually(lambda: status(site) == 200)
    (site.service.policies / "second.toml").unlink()
    eventually(lambda: status(site) == 403)
    answer = site.service.exchange(site.issuer.token(), ["users"])
    assert site.service.event_of(answer)["generation"] == site.service.readiness()["generation"]


def test_p17_a_broken_change_keeps_the_old_policies(site: Deployment) -> None:
    """P-17: a fault keeps the last good generation, degrades readiness, counts and is said once; then all is well."""
    before = site.service.readiness()["generation"]
    (site.service.policies / "second.toml").write_text("issuer = 1\n")
    eventually(lambda: site.service.readiness()["status"] == "degraded")
    (site.service.policies / "second.toml").write_text("issuer = 1\n# still\n")
    eventually(lambda: site.service.metric("tailsts_policy_reloads_total", result="failed") >= 2)
    assert status(site) == 200
    assert site.service.readiness()["generation"] == before
    assert "second.toml:1: fault: issuer is a number" in site.service.readiness()["reload_faults"][0]
    assert len(site.service.log_lines("policies not reloaded: the old ones stay in force")) == 1
    assert len([line for line in site.service.log_lines("policy") if "issuer is a number" in line["finding"]]) == 1
    (site.service.policies / "second.toml").unlink()
    eventually(lambda: site.service.readiness()["status"] == "ready")


def test_p18_no_policy_left_means_that_nobody_is_trusted(site: Deployment) -> None:
    """P-18: the last policy deleted: everything is denied."""
    (site.service.policies / "infra.toml").unlink()
    eventually(lambda: status(site) == 401)
    assert site.service.readiness()["policies"] == 0
    site.service.write_policy("infra", with_scopes(site, "dns:read"))
    eventually(lambda: status(site) == 200)


def test_a_folder_that_is_replaced(site: Deployment) -> None:
    """A folder that is gone for a moment changes nothing; the one in its place counts."""
    folder = site.service.policies
    aside = folder.with_name("aside")
    folder.rename(aside)
    eventually(lambda: site.service.readiness()["status"] == "degraded")
    assert status(site) == 200
    new = folder.with_name("new")
    new.mkdir()
    (new / "infra.toml").write_text(with_scopes(site, "webhooks"))
    new.rename(folder)
    eventually(lambda: (status(site), status(site, "webhooks")) == (403, 200))
    assert site.service.readiness()["status"] == "ready"


def test_p18_a_folder_that_stays_away(site: Deployment) -> None:
    """P-18: a folder that does not come back took all trust with it."""
    shutil.rmtree(site.service.policies)
    eventually(lambda: status(site) == 401, 30)
    assert site.service.readiness()["policies"] == 0
    assert site.service.readiness()["status"] == "not ready"


def test_kubernetes_swaps_a_link(tmp_path: Path) -> None:
    """A config map that is updated counts: its files are links through ..data, which is swapped for another folder."""
    with deployed(tmp_path, without=WATCHED) as site:
        folder = site.service.policies
        for number, scope in enumerate(["webhooks", "users"]):
            version = folder / f"..v{number}"
            version.mkdir()
            (version / "infra.toml").write_text(with_scopes(site, scope))
            (folder / "..data_tmp").symlink_to(version.name)
            (folder / "..data_tmp").rename(folder / "..data")
            if not number:
                (folder / "infra.new").symlink_to("..data/infra.toml")
                (folder / "infra.new").rename(folder / "infra.toml")
            eventually(lambda scope=scope: status(site, scope) == 200)  # type: ignore[misc]  # a default binds it
        assert os.readlink(folder / "..data") == "..v1"  # noqa: PTH115 - as it is written
        assert status(site, "webhooks") == 403
