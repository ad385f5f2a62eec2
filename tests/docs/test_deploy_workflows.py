"""The workflows that check and release: what they run, and what they may."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.pages import ROOT, read

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
ZIZMOR = Path(sys.executable).with_name("zizmor")
# Each right to write that any job has.
RIGHTS = {
    ("release.yml", "attest", "id-token"),
    ("release.yml", "attest", "attestations"),
    ("release.yml", "pypi", "id-token"),
    ("release.yml", "github", "contents"),
}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the file, the name and the content of each job."""
    for path in FILES:
        for name, job in msgspec.yaml.decode(path.read_text())["jobs"].items():
            yield path.name, name, job


def steps() -> Iterator[dict[str, Any]]:
    """Yield each step of each job."""
    for _, _, job in jobs():
        yield from job["steps"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """Each action is named by its commit, beside the version that it is; the same action everywhere."""
    used = re.findall(r"uses: .*$", path.read_text(), re.MULTILINE)
    assert used
    assert [line for line in used if not PINNED.match(line)] == []


def test_one_version_of_each_action() -> None:
    """No action is used at two commits."""
    used = {step["uses"] for step in steps() if "uses" in step}
    assert len(used) == len({name.partition("@")[0] for name in used})


def test_rights() -> None:
    """No workflow has rights of its own, and no job can write but where a release does."""
    for path in FILES:
        assert msgspec.yaml.decode(path.read_text())["permissions"] == {}
    writing = {
        (file, name, right)
        for file, name, job in jobs()
        for right, kind in job["permissions"].items()
        if kind != "read"
    }
    assert writing == RIGHTS


def test_jobs_end() -> None:
    """Each job ends by itself, and keeps no credentials of the checkout."""
    for _, _, job in jobs():
        assert job["timeout-minutes"] <= 90
    checkouts = [step for step in steps() if "actions/checkout@" in step.get("uses", "")]
    assert checkouts
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


def test_commands_exist() -> None:
    """Each command that is run exists."""
    dev = read("dev")
    named = {name for step in steps() for name in re.findall(r"\./dev (\S+)", step.get("run", ""))}
    assert named
    assert {name for name in named if not re.search(rf"^  {name}\)", dev, re.MULTILINE)} == set()


def test_advisories_are_required() -> None:
    """Where everything is checked, that the advisories could not be had is a failure: nobody would read the line."""
    checking = [step["run"] for step in steps() if ".ci/run" in step.get("run", "")]
    assert len(checking) == len(FILES)
    assert [line for line in checking if not re.search(r"\bDEV_AUDIT=required bash \.ci/run", line)] == []
    assert '"${DEV_AUDIT:-}" != required' in read("dev")


def test_what_tests_start_is_installed() -> None:
    """A job that runs the tests of the whole service installs first what they start, as the full check does."""
    installs = re.findall(r"apt-get install -qy --no-install-recommends (.+?)(?:;|$)", read(".ci/run"), re.MULTILINE)
    needed = {name for names in installs for name in names.split()}
    assert {"redis-server", "faketime"} <= needed
    running = [job for _, _, job in jobs() if "tests/functional" in job["steps"][-1].get("run", "")]
    assert running
    for job in running:
        before = "".join(step.get("run", "") for step in job["steps"][:-1])
        assert {name for name in needed if name not in before} == set()


def test_helm_is_pinned() -> None:
    """Helm is built at one version, and what it does with the chart is tested with that one."""
    (job,) = (job for _, name, job in jobs() if name == "chart")
    text = "\n".join(step.get("run", "") for step in job["steps"])
    assert re.search(r"go install helm\.sh/helm/v3/cmd/helm@v\d+\.\d+\.\d+$", text, re.MULTILINE)
    assert "helm lint --strict deploy/helm/tailsts" in text
    assert "kubectl kustomize deploy/kubernetes" in text
    assert "TAILSTS_HELM=" in text


def test_what_is_released_was_checked() -> None:
    """A release builds what passed, once, publishes with attestations, and without any token."""
    release = {name: job for file, name, job in jobs() if file == "release.yml"}
    assert [job.get("needs") for job in release.values()] == [None, "checks", "build", "attest", "pypi"]
    publish = release["pypi"]["steps"][-1]
    assert publish["with"]["attestations"] is True
    assert "secrets." not in read(".github/workflows/release.yml")


@pytest.mark.skipif(not ZIZMOR.exists(), reason="needs the group `ship`")
def test_zizmor() -> None:
    """The auditor of workflows finds nothing."""
    done = subprocess.run(
        [ZIZMOR, "--offline", "--quiet", "--color=never", "--persona=auditor", ROOT / ".github"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "No findings to report. Good job!")
