"""Examples that other tests leave: requests, Python, YAML and shell, run as they stand where that can be."""

import base64
import gzip
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import Context, Option

from fakes.deployment import Deployment, deployed
from fakes.issuer import Issuer
from fakes.pages import PAGES, ROOT, blocks, commands, read, section
from fakes.raw import RawConnection
from fakes.service import environment
from tailsts.audit import Event, json_line
from tailsts.cli import main

HTTP = read("docs/http.md")
OPERATIONS = read("docs/operations.md")
DEPLOYING = read("docs/deploying.md")
DECISION = "f5ceb7f3a8f921095b16"
KNOWN = {"http", "json", "mermaid", "python", "rego", "sh", "text", "toml", "yaml"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("examples")) as site:
        yield site


def test_every_language_is_looked_at() -> None:
    """No page shows code in a language that no test looks at."""
    shown = {name for page in PAGES for name in re.findall(r"^```(\w+)$", page.read_text(), re.MULTILINE)}
    assert shown <= KNOWN


def test_the_request(site: Deployment) -> None:
    """The request of the HTTP reference brings a token; only what every request has is added to it."""
    (text,) = blocks(HTTP, "http")
    head, _, body = text.replace("<OIDC token>", site.issuer.token()).strip().partition("\n\n")
    lines = [*head.split("\n"), "Host: sts.example.com", f"Content-Length: {len(body)}", "", body]
    with RawConnection(site.service.port) as connection:
        connection.send(["\r\n".join(lines).encode()])
        answer = connection.read()
    assert answer is not None
    assert (answer.status, answer.text[:10]) == (200, "tskey-api-")


def test_the_library(site: Deployment) -> None:
    """The lines of Python that use the client as a library bring a token."""
    (text,) = (block for block in blocks(HTTP, "python") if "tailsts.client" in block)
    used: list[str] = []
    program = compile(text.replace("https://sts.example.com", site.service.url), "docs/http.md", "exec")
    exec(program, {"oidc_token": site.issuer.token(), "use": used.append})  # noqa: S102 - is what the page says to do
    assert [token[:10] for token in used] == ["tskey-api-"]


def test_the_claims_of_a_token(tmp_path: Path) -> None:
    """The command that shows the claims of a token does."""
    (command,) = (block for block in blocks(read("docs/policies.md"), "sh") if "cut -d" in block)
    issuer = Issuer("https://issuer.example.com")
    (tmp_path / "token.jwt").write_text(issuer.token(sub="infra"))
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    payload = (tmp_path / "token.jwt").read_text().split(".")[1]
    assert json.loads(done.stdout) == json.loads(base64.urlsafe_b64decode(payload + "=="))
    (tmp_path / "token.jwt").unlink()


def questions() -> Iterator[tuple[str, str]]:
    """Yield the options and the program of each question to an audit log that the page shows."""
    for block in blocks(OPERATIONS, "sh"):
        yield from re.findall(r"^jq (-r )?'(.*)' audit\.jsonl$", block, re.MULTILINE)


def test_questions_name_members() -> None:
    """Each member of an event that the questions to the audit log name is documented."""
    documented = section(OPERATIONS, "The audit log")
    named = {name for _, program in questions() for name in re.findall(r"(?<![\w\"])\.(\w+)", program)}
    assert named
    assert {name for name in named if f"`{name}`" not in documented} == set()


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_questions(site: Deployment) -> None:
    """The questions to an audit log are answered with the events that they are about."""
    denied = site.service.exchange(site.issuer.token(), ["acl"])
    event = site.service.event_of(denied)
    answers = [
        subprocess.run(
            ["jq", "-c", *options.split(), program.replace(DECISION, event["decision"])],  # noqa: S607
            input=site.service.audit_log.read_text(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for options, program in questions()
    ]
    assert json.loads(answers[0]) == event
    assert answers[1].split("\t")[:3] == [event["time"], event["policy"], event["reason"]]


# Commands of those two pages that no test runs as they stand, by how they begin, each with the reason.
NOT_RUN = {
    "TS_CLIENT_ID=k123CNTRL docker compose": "builds an image; compose.yaml is looked at by test_deploy.py",
    "kubectl create": "needs a cluster",
    "kubectl -n tailsts create": "needs a cluster; the secret's keys are looked at by test_deploy.py",
    "kubectl apply -k": "needs a cluster; what it would apply is rendered by test_deploy_chart.py",
    "helm install": "needs a cluster; what it would install is rendered by test_deploy_chart.py",
    "/opt/tailsts/bin/pip install": "needs a release; test_package.py installs what would be one",
    "systemctl": "needs systemd",
    "./dev build": "a command of its own, which CI runs",
    "./dev sbom": "a command of its own, which a release runs",
    "gh attestation verify": "needs a release",
}
# Those that tests run: here, or the whole block of systemd in test_deploy_unit.py.
RUN = ("tailsts audit", "tailsts explain", "jq")


def test_every_command_is_run_or_is_said_not_to_be() -> None:
    """Each command of the pages on operations and deploying is run by a test, or stands in the list with a reason."""
    unit = {shlex.join(words) for words in commands(blocks(section(DEPLOYING, "systemd"), "sh")[0])}
    shown = {
        shlex.join(words) for page in (OPERATIONS, DEPLOYING) for text in blocks(page, "sh") for words in commands(text)
    }
    left = {line for line in shown if not line.startswith((*RUN, *NOT_RUN))} - unit
    assert left == set()
    assert {start for start in NOT_RUN if not any(line.startswith(start) for line in shown)} == set()


def logged(decision: str, ago: timedelta, outcome: str, reason: str, subject: str) -> bytes:
    """Return a line of a made-up audit log."""
    time = f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%S}.000Z"
    told = Event(time, decision, "g", "192.0.2.7", "agent", outcome=outcome, reason=reason, verified=True)
    told.subject, told.policy, told.issuer = subject, "infra", "https://issuer.example.com"
    return json_line(told)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return a folder with an audit log that was rotated twice; nothing in it is younger than a quarter of an hour."""
    ours, theirs = "repo:acme/infra:ref:refs/heads/main", "repo:other/infra:ref:refs/heads/main"
    oldest = logged("a0", timedelta(days=30), "granted", "granted", ours)
    (tmp_path / "audit.jsonl.2.gz").write_bytes(gzip.compress(oldest))
    (tmp_path / "audit.jsonl.1").write_bytes(logged("a1", timedelta(days=8), "granted", "granted", theirs))
    (tmp_path / "audit.jsonl").write_bytes(
        logged("a2", timedelta(days=3), "refused", "scope_not_allowed", ours)
        + logged(DECISION, timedelta(hours=1), "refused", "replayed", theirs)
        + logged("a4", timedelta(minutes=15), "granted", "granted", ours)
    )
    return tmp_path


def asked() -> list[str]:
    """Return the lines that ask an audit log, as they stand."""
    return re.findall(r"^tailsts (?:audit|explain) .*$", "".join(blocks(OPERATIONS, "sh")), re.MULTILINE)


# What each of these lines has to say, and what it must leave out.
ANSWERS = {
    "--decision": ([DECISION, "replayed"], ["a2"]),
    "--denied --since 2h": ([DECISION], ["=a0", "=a1", "=a2", "=a4"]),
    "--subject": (["=a0", "=a2", "=a4"], ["=a1", DECISION]),
    "--summary": (["replayed", "scope_not_allowed", "repo:acme/infra"], []),
    "| jq": (['"192.0.2.7"'], ["infra"]),
}


@pytest.mark.parametrize("line", asked())
def test_questions_of_our_own(line: str, logs: Path) -> None:
    """Each line of the page that asks an audit log is answered with the events that it is about, and no others."""
    ((has, has_not),) = (answer for part, answer in ANSWERS.items() if part in line)
    if "jq" in line and shutil.which("jq") is None:
        pytest.skip("needs jq")
    told = line.replace("tailsts", f"{shlex.quote(sys.executable)} -m tailsts", 1)
    done = subprocess.run(
        ["/bin/sh", "-c", told], cwd=logs, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [part for part in has if part not in done.stdout] == []
    assert [part for part in has_not if part in done.stdout] == []


def test_all_questions_are_expected() -> None:
    """There is one answer to each line, so that none is left out."""
    assert len(asked()) == len(ANSWERS)


def shown_yaml() -> Iterator[tuple[str, str]]:
    """Yield each YAML text that is shown, with where."""
    for page in PAGES:
        for number, block in enumerate(blocks(page.read_text(), "yaml"), 1):
            yield f"{page.relative_to(ROOT)}:{number}", block
    for path in (*ROOT.glob("examples/*/*.y*ml"),):
        for number, text in enumerate(path.read_text().split("\n---\n"), 1):
            yield f"{path.relative_to(ROOT)}:{number}", text


def texts(value: object) -> Iterator[str]:
    """Yield each text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@pytest.mark.parametrize(("place", "text"), list(shown_yaml()), ids=lambda value: value if len(value) < 60 else "")
def test_yaml(place: str, text: str) -> None:
    """Each YAML text that is shown is YAML, and what it has run of ours exists."""
    value: Any = msgspec.yaml.decode(text)
    assert isinstance(value, dict), place
    for line in texts(value):
        for name, rest in re.findall(r"\btailsts (token|check|test|explain)\b([^&|;\n>]*)", line):
            command = main.get_command(Context(main), name)
            assert command is not None
            known = {word for option in command.params for word in option.opts}
            assert set(re.findall(r"--[\w-]+", rest)) <= known, place


def test_variables_of_the_client() -> None:
    """Variables of the client that pods and jobs set are the client's."""
    command = main.get_command(Context(main), "token")
    assert command is not None
    known = {str(option.envvar) for option in command.params if isinstance(option, Option)}
    for path in (ROOT / "examples/kubernetes/job.yaml", ROOT / "deploy/kubernetes/client.example.yaml"):
        named = set(re.findall(r"name: \"?([A-Z][A-Z_]+)\b", path.read_text()))
        assert named
        assert named <= known, path


@pytest.mark.parametrize("page", sorted((ROOT / "docs/cookbook").glob("*.md")), ids=lambda page: page.stem)
def test_one_audience_on_each_page(page: Path) -> None:
    """The audience that a page says to ask for is the one that its policies want."""
    text = page.read_text()
    wanted = set(re.findall(r'^audience += "([^"]+)"', "".join(blocks(text, "toml")), re.MULTILINE))
    shown = "".join(block for kind in ("sh", "yaml") for block in blocks(text, kind))
    asked = re.findall(
        r"""(?:-?-audience[ =]|aud(?:ience)?s?"?: *\[?"?|audience=|resource=)([a-z]+://[^"\s&\]']+)""", shown
    )
    assert set(asked) <= wanted
