"""The unit for systemd, and the chart for Helm."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from fakes.pages import ROOT, blocks, read, section
from fakes.service import environment
from tailsts.policy.store import Options, load
from tailsts.server.listener import DRAIN_SECONDS, FLUSH_SECONDS

UNIT = ROOT / "deploy/tailsts.service"
GIVEN = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
CHART = ROOT / "deploy/helm/tailsts"
TEMPLATE = (CHART / "templates/deployment.yaml").read_text()
MANIFEST = read("deploy/kubernetes/deployment.yaml")
# Of ten, in steps of a tenth: what systemd itself calls well protected is 2 and less.
EXPOSURE = 1.5


@pytest.mark.parametrize(
    "name",
    ["DynamicUser", "NoNewPrivileges", "PrivateDevices", "PrivateUsers", "ProtectHome", "MemoryDenyWriteExecute"],
)
def test_protection(name: str) -> None:
    """The service has no user of anybody else's, gains no rights, and sees little of the machine."""
    assert GIVEN[name] == "yes"


def test_rights() -> None:
    """It has no capability, and may write to two folders of its own."""
    assert GIVEN["CapabilityBoundingSet"] == ""
    assert GIVEN["ProtectSystem"] == "strict"
    assert (GIVEN["StateDirectory"], GIVEN["LogsDirectory"]) == ("tailsts", "tailsts")
    assert "ReadWritePaths" not in GIVEN


def test_the_secret_is_a_credential() -> None:
    """The OAuth client's secret is in no environment: it is a file that only the service sees."""
    text = UNIT.read_text()
    (name,) = re.findall(r"^Environment=TS_CLIENT_SECRET_FILE=%d/(.+)$", text, re.MULTILINE)
    assert GIVEN["LoadCredential"].partition(":")[0] == name
    assert "TS_CLIENT_SECRET=" not in text


def test_signals() -> None:
    """A reload is SIGHUP, and a stop is given the time that it takes."""
    assert GIVEN["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(GIVEN["TimeoutStopSec"]) >= DRAIN_SECONDS + FLUSH_SECONDS + 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_exposure() -> None:
    """What systemd says of the unit is no worse than it was."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],  # noqa: S607 - where it is differs
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (exposure,) = re.findall(r"Overall exposure level for tailsts.service: ([\d.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE


def test_what_the_page_installs(tmp_path: Path) -> None:
    """The commands of the page, in a root of their own, put there all that the unit names, and a policy that loads."""
    (script,) = blocks(section(read("docs/deploying.md"), "systemd"), "sh")
    root = tmp_path / "root"
    for folder in ("etc/systemd/system", "opt"):
        (root / folder).mkdir(parents=True)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "my-policies").mkdir()
    (tmp_path / "my-policies/infra-prod.toml").write_text(blocks(read("README.md"), "toml")[0])
    (tmp_path / "secret.txt").write_text("made up\n")
    # No network and no systemd: the environment is one without packages, and nothing is started.
    script = re.sub(r"^(python3 -m venv)", r"\1 --without-pip", script, flags=re.MULTILINE)
    script, installed = re.subn(
        r"^(/opt/tailsts/bin)/pip install tailsts$", r"touch \1/tailsts", script, flags=re.MULTILINE
    )
    script, started = re.subn(r"^systemctl (?:daemon-reload|enable --now tailsts)\n", "", script, flags=re.MULTILINE)
    assert (installed, started) == (1, 2)
    moved = re.sub(r"(?<![\w.*])/(?=(?:etc|opt)/)", f"{root}/", script)
    done = subprocess.run(["/bin/sh", "-euc", moved], cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (root / "etc/systemd/system/tailsts.service").read_text() == UNIT.read_text()
    directives = re.sub(r"^#.*", "", UNIT.read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w%}-])/[\w./-]+", directives.replace("%d/", "")))
    # The unit makes these itself; the last is the system's.
    made = {"/var/lib/tailsts/state.sqlite", "/var/log/tailsts/audit.jsonl", "/bin/kill"}
    assert made < named
    assert {path for path in named - made if not (root / path[1:]).exists()} == set()
    loaded = load(root / "etc/tailsts/policies", Options(strict=True))
    assert loaded.generation is not None
    assert len(loaded.generation.policies) == 1
    shutil.rmtree(root)


def block(text: str, key: str) -> list[str]:
    """Return each block of a YAML text that stands under a key, as it is written but for comments."""
    bare = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    found = re.findall(rf"^( *){key}:\n((?:\1 +.*\n)+)", bare, re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


@pytest.mark.parametrize("key", ["securityContext", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle"])
def test_the_chart_protects_as_much(key: str) -> None:
    """The chart gives pods the same rights and probes as the manifests do."""
    assert block(TEMPLATE, key)
    assert block(TEMPLATE, key) == block(MANIFEST, key)


def test_the_values_of_the_chart() -> None:
    """Each value has its place in the schema, each place of the schema its value, and each is used."""
    values = msgspec.yaml.decode((CHART / "values.yaml").read_text())
    schema = msgspec.json.decode((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    assert {name for name in values if f".Values.{name}" not in templates} == set()


def test_the_versions_of_the_chart() -> None:
    """The chart installs the version of the package."""
    chart = msgspec.yaml.decode((CHART / "Chart.yaml").read_text())
    (version,) = re.findall(r'^version = "(.*)"$', read("pyproject.toml"), re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == version
