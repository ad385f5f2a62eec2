"""What is there to run it with, against the command line and against what the pages promise of it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from fakes.deployment import deployed
from fakes.pages import ROOT, read
from fakes.service import environment, unused_port
from fakes.tls import Authority
from tailsts.cli.serve import command as serve
from tailsts.oidc.token import MAX_TOKEN_LENGTH
from tailsts.policy.store import Options, load
from tailsts.server.listener import DRAIN_SECONDS, FLUSH_SECONDS
from tailsts.server.wire import MAX_BODY_LENGTH

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNIT = read("deploy/tailsts.service")
DOCKERFILE = read("Dockerfile")
CHART = read("deploy/helm/tailsts/templates/deployment.yaml")
COMPOSE = msgspec.yaml.decode(read("deploy/compose.yaml"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OPTIONS = {name for option in serve.params for name in (*option.opts, *option.secondary_opts)}
VARIABLES = {str(option.envvar) for option in serve.params if isinstance(option, click.Option) and option.envvar}
# Read by the interpreter.
OTHERS = {"PATH", "PYTHONDONTWRITEBYTECODE"}
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
TO_STOP = DRAIN_SECONDS + FLUSH_SECONDS + 1


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [msgspec.yaml.decode(text) for text in path.read_text().split("\n---\n")]


MANIFESTS = {path.name: documents(path) for path in sorted(KUBERNETES.glob("*.yaml"))}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the specification of each pod that is shown for Kubernetes."""
    for found in (document for file in MANIFESTS.values() for document in file):
        if found["kind"] in {"Deployment", "StatefulSet"}:
            yield found["metadata"]["name"], found["spec"]["template"]["spec"]
        elif found["kind"] == "Pod":
            yield found["metadata"]["name"], found["spec"]


PODS = dict(pods())
SERVER = PODS["tailsts"]["containers"][0]


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_rights(name: str) -> None:
    """No pod runs as root, gains rights, writes to its root, or has a token of the cluster's."""
    pod = PODS[name]
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert security["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        volumes = {volume["name"] for volume in pod.get("volumes", ())} | {"data"}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


@pytest.mark.parametrize("name", ["tailsts", "valkey"])
def test_pods_are_bounded(name: str) -> None:
    """What runs for long has its memory bounded."""
    assert "memory" in PODS[name]["containers"][0]["resources"]["limits"]


def test_probes() -> None:
    """Probes ask the admin port, where no stranger can crowd, and which no service shows; it is given time to stop."""
    assert {port["name"]: port["containerPort"] for port in SERVER["ports"]} == {"public": 8080, "admin": 9090}
    for name in ("livenessProbe", "startupProbe"):
        assert SERVER[name]["httpGet"] == {"path": "/healthz", "port": "admin"}
    assert SERVER["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    (service,) = MANIFESTS["service.yaml"]
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["public"]
    wait = int(SERVER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert PODS["tailsts"]["terminationGracePeriodSeconds"] >= wait + TO_STOP


def test_three_replicas() -> None:
    """Three replicas, of which one may be missing, share a state."""
    (deployment,) = (found for found in MANIFESTS["deployment.yaml"] if found["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == SERVICES["tailsts"]["deploy"]["replicas"] == 3
    assert MANIFESTS["disruption-budget.yaml"][0]["spec"]["maxUnavailable"] == 1
    assert variables_of_the_pod()["TAILSTS_STATE"] == SERVICES["tailsts"]["environment"]["TAILSTS_STATE"]


def variables_of_the_pod() -> dict[str, object]:
    """Return what the pod's environment has."""
    return {variable["name"]: variable.get("value") for variable in SERVER["env"]}


def test_network_policies() -> None:
    """Nothing is allowed but what is named; the admin port is for monitoring, Valkey for the service."""
    policies = {found["metadata"]["name"]: found["spec"] for found in MANIFESTS["network-policies.yaml"]}
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    sources = {port["port"]: rule["from"] for rule in policies["tailsts"]["ingress"] for port in rule["ports"]}
    assert set(sources) == {"public", "admin"}
    assert sources["admin"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    (rule,) = policies["valkey"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "tailsts"}}}]
    outside = [to["ipBlock"] for rule in policies["tailsts"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert "169.254.0.0/16" in outside[0]["except"]


def test_kustomization() -> None:
    """It has each manifest but the examples, and files of policies that are there."""
    (kustomization,) = MANIFESTS["kustomization.yaml"]
    others = {"kustomization.yaml", "client.example.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == set(MANIFESTS) - others
    (generated,) = kustomization["configMapGenerator"]
    assert generated["files"] == [f"policies/{path.name}" for path in (KUBERNETES / "policies").glob("*.toml")]
    projected = PODS["tailsts"]["volumes"][0]["projected"]["sources"]
    assert projected[0]["configMap"]["name"] == generated["name"]


def test_the_policy_of_the_client(folder: Path) -> None:
    """The policy that is shown loads without a word, also when strict, and trusts the pod that is shown."""
    shutil.copy(KUBERNETES / "policies/deployer.toml", folder)
    (folder / "cluster.pem").write_bytes(Authority().pem)
    loaded = load(folder, Options(strict=True))
    assert list(loaded.findings) == []
    text = (folder / "deployer.toml").read_text()
    (token,) = PODS["deployer"]["volumes"][0]["projected"]["sources"]
    assert f'audience       = "{token["serviceAccountToken"]["audience"]}"' in text
    assert f'subject        = "system:serviceaccount:deploy:{PODS["deployer"]["serviceAccountName"]}"' in text
    scopes = {item["name"]: item["value"] for item in PODS["deployer"]["containers"][0]["env"]}["SCOPES"]
    assert f'allowed_scopes = ["{scopes}"]' in text


def test_the_example_of_the_secret() -> None:
    """It has the keys that the deployment asks for, and is applied by nobody."""
    (secret,) = MANIFESTS["secret.example.yaml"]
    volume = PODS["tailsts"]["volumes"][1]["secret"]
    assert secret["metadata"]["name"] == volume["secretName"]
    (asked,) = (variable["valueFrom"]["secretKeyRef"] for variable in SERVER["env"] if "valueFrom" in variable)
    assert set(secret["stringData"]) == {asked["key"], volume["items"][0]["key"]}


def settings_that_are_used() -> Iterator[tuple[str, set[str]]]:
    """Yield each place that sets environment variables of the service, with their names."""
    yield "compose", set(SERVICES["tailsts"]["environment"])
    yield "kubernetes", set(variables_of_the_pod())
    yield "unit", set(re.findall(r"^Environment=([A-Z_]+)=", UNIT, re.MULTILINE))
    yield "helm", set(re.findall(r"- name: ([A-Z_]+)$", CHART, re.MULTILINE))
    yield "image", set(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=", DOCKERFILE.rpartition("FROM")[2], re.MULTILINE))


@pytest.mark.parametrize(("place", "names"), list(settings_that_are_used()), ids=lambda value: str(value)[:10])
def test_variables_exist(place: str, names: set[str]) -> None:
    """Each variable that is set is one of the service's."""
    assert names, place
    assert names - VARIABLES - OTHERS == set()


def test_options_exist() -> None:
    """Each option that is given is one of the service's."""
    (started,) = re.findall(r"^ExecStart=\S+ serve (.*)$", UNIT, re.MULTILINE)
    assert {*started.split(), *SERVICES["tailsts"]["command"], *SERVER["args"]} <= OPTIONS


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_rights(name: str) -> None:
    """No container of the composition runs as root, gains rights, or writes to its root; each is bounded."""
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith("0")
    assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])


def test_the_composition() -> None:
    """Only the balancer has a port outside; Valkey and the service are alone; the balancer alone is believed."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["balancer"]
    assert [name for name, service in SERVICES.items() if "state" in service["networks"]] == ["tailsts", "valkey"]
    assert [name for name, service in SERVICES.items() if "front" in service["networks"]] == ["tailsts", "balancer"]
    networks = COMPOSE["networks"]
    assert {name for name, network in networks.items() if network.get("internal")} == {"front", "state"}
    trusted = SERVICES["tailsts"]["environment"]["TAILSTS_TRUSTED_PROXIES"]
    assert networks["front"]["ipam"]["config"] == [{"subnet": trusted}]
    assert int(SERVICES["tailsts"]["stop_grace_period"].removesuffix("s")) >= TO_STOP


def test_valkey_forgets_nothing() -> None:
    """Valkey writes before it answers and evicts nothing, in both places alike."""
    words = SERVICES["valkey"]["command"]
    arguments = PODS["valkey"]["containers"][0]["args"]
    assert words[1:] == arguments[: len(words) - 1]
    given = dict(zip(words[1::2], words[2::2], strict=True))
    assert given["--maxmemory-policy"] == "noeviction"
    assert (given["--appendonly"], given["--appendfsync"]) == ("yes", "always")


def test_images_are_pinned() -> None:
    """Each image that is not ours is named by its digest."""
    named = [service["image"] for service in SERVICES.values()]
    named += [container["image"] for pod in PODS.values() for container in pod["containers"]]
    named += re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert {name for name in named if not DIGEST.search(name)} == {
        "tailsts:0.1.0",
        "registry.example.com/tailsts:0.1.0",
    }
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_the_balancer() -> None:
    """It takes what the service takes, says for whom it asks, ends TLS, and sends no exchange twice."""
    text = re.sub(r"#.*", "", read("deploy/nginx.conf"))
    given = dict(re.findall(r"^\s*(\w+) +([^;{]+);", text, re.MULTILINE))
    assert int(given["client_max_body_size"].removesuffix("k")) * 1024 == MAX_BODY_LENGTH
    assert int(given["large_client_header_buffers"].split()[1].removesuffix("k")) * 1024 > MAX_TOKEN_LENGTH
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert "ssl" in given["listen"].split()
    assert "non_idempotent" not in text


def healthcheck(port: int) -> int:
    """Run the image's own check of health, and return its exit code."""
    (words,) = re.findall(r"CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *arguments = json.loads(words)
    assert program == "python"
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(TAILSTS_ADMIN_PORT=str(port), http_proxy="http://127.0.0.1:9"),
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


def test_healthcheck(tmp_path: Path) -> None:
    """The image is healthy where the admin port answers, which it sets itself, and only there."""
    assert "TAILSTS_ADMIN_PORT=9090" in DOCKERFILE
    with deployed(tmp_path) as site:
        assert healthcheck(site.service.ports["admin"]) == 0
    assert healthcheck(unused_port()) != 0
