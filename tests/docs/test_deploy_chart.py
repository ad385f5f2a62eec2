"""What Helm and kustomize make of the chart and the manifests.

`helm` and `kustomize` (or `kubectl`, which has it built in) are those on the PATH. TAILSTS_HELM names a helm that must
be there, as in CI: then nothing of it is skipped.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.pages import ROOT, blocks, commands, read

CHART = ROOT / "deploy/helm/tailsts"
# A helm that was built by `go install` takes a cluster for older than any that the chart is for.
(OLDEST,) = re.findall(r'^kubeVersion: ">=([\d.]+)-0"$', (CHART / "Chart.yaml").read_text(), re.MULTILINE)
POLICY = 'issuer = "https://issuer.example.com"\n# {{ not for Helm }}\n'


@pytest.fixture(scope="module")
def helm() -> str:
    """Return Helm."""
    found = os.environ.get("TAILSTS_HELM") or shutil.which("helm")
    if found is None:
        pytest.skip("helm is not on the PATH; TAILSTS_HELM names one that must be there")
    return found


def ask(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        list(map(str, arguments)), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def manifests(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what was rendered, by kind and name."""
    assert done.returncode == 0, done.stderr
    texts = [text for text in re.split(r"^---\n", done.stdout, flags=re.MULTILINE) if text.strip()]
    found: list[dict[str, Any]] = [msgspec.yaml.decode(text) for text in texts]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def template(helm: str, *options: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Render the chart."""
    return ask(
        helm, "template", "sts", CHART, "--namespace", "tailsts", "--kube-version", OLDEST, *options, folder=folder
    )


def test_helm_finds_no_fault(helm: str) -> None:
    """Helm's own lint has nothing to say, also when strict."""
    done = ask(helm, "lint", "--strict", "--kube-version", OLDEST, CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_page_installs(helm: str, tmp_path: Path) -> None:
    """The command of the page renders, with the image, the state and the policy that it names, as they are."""
    (words,) = (
        line for block in blocks(read("docs/deploying.md"), "sh") for line in commands(block) if line[0] == "helm"
    )
    assert words[1:5] == ["install", "sts", "deploy/helm/tailsts", "--namespace"]
    (tmp_path / "my-policies").mkdir()
    (tmp_path / "my-policies/infra.toml").write_text(POLICY)
    found = manifests(template(helm, *words[6:], folder=tmp_path))
    assert {kind for kind, _ in found} == {
        *("ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount")
    }
    assert found["ConfigMap", "sts-tailsts-policies"]["data"] == {"infra.toml": POLICY}
    (container,) = found["Deployment", "sts-tailsts"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/tailsts:0.1.0"
    assert {"name": "TAILSTS_STATE", "value": "rediss://valkey.example.com:6379/0"} in container["env"]
    assert container["args"] == ["--strict"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--set", "state.url=memory"], "several replicas need a state that they share"),
        (["--set", "replicas=0"], "replicas"),
        (["--set", "oauthClient.secret="], "oauthClient"),
        (["--set", "typo=1"], "typo"),
        (["--set", "state.url=sqlite:/state"], "state"),
        (["--set", r"policies.infra\.yaml=x"], "infra.yaml"),
        (["--set", "image.digest=latest"], "digest"),
    ],
)
def test_what_the_chart_refuses(helm: str, options: list[str], fault: str) -> None:
    """Values that cannot work are refused before anything is installed."""
    done = template(helm, *options)
    assert done.returncode != 0
    assert fault in done.stderr


def test_what_a_value_changes(helm: str) -> None:
    """One replica may remember alone; a state's address may be a secret; a digest wins; other policies, other pods."""
    alone = manifests(template(helm, "--set", "replicas=1,state.url=memory"))["Deployment", "sts-tailsts"]
    assert alone["spec"]["replicas"] == 1
    digest = f"sha256:{'0' * 64}"
    given = ["--set", f"state.secret=valkey,image.digest={digest}", "--set", r"policies.infra\.toml=x"]
    other = manifests(template(helm, *given))["Deployment", "sts-tailsts"]
    (container,) = other["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.com/tailsts@{digest}"
    (state,) = (each for each in container["env"] if each["name"] == "TAILSTS_STATE")
    assert state["valueFrom"] == {"secretKeyRef": {"name": "valkey", "key": "url"}}
    annotations = [each["spec"]["template"]["metadata"]["annotations"] for each in (alone, other)]
    assert annotations[0] != annotations[1]


def test_kustomize_renders_the_manifests() -> None:
    """All manifests are rendered, in one namespace, and pods find the config map under the name that is made for it."""
    if (kustomize := shutil.which("kustomize")) is not None:
        done = ask(kustomize, "build", ROOT / "deploy/kubernetes")
    elif (kubectl := shutil.which("kubectl")) is not None:
        done = ask(kubectl, "kustomize", ROOT / "deploy/kubernetes")
    else:
        pytest.skip("neither kustomize nor kubectl is on the PATH")
    found = manifests(done)
    assert {each["metadata"].get("namespace") for (kind, _), each in found.items() if kind != "Namespace"} == {
        "tailsts"
    }
    (name,) = (name for kind, name in found if kind == "ConfigMap")
    assert re.fullmatch(r"policies-[a-z0-9]{10}", name)
    policies = (ROOT / "deploy/kubernetes/policies").glob("*.toml")
    assert found["ConfigMap", name]["data"] == {path.name: path.read_text() for path in policies}
    volumes = found["Deployment", "tailsts"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["projected"]["sources"][0]["configMap"]["name"] == name
