"""The README is what people do first, so its commands are run as they stand."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

from fakes.http import eventually
from fakes.leaks import note_output
from fakes.pages import PAGES, ROOT, blocks, commands, read, section
from fakes.service import environment
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale
from tailsts.cli import main
from tailsts.policy.store import Options, load

README = read("README.md")
RUN = f"{sys.executable} -m tailsts"


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_length() -> None:
    """It can be read in two minutes."""
    assert README.count("\n") <= 110


def test_every_command_exists() -> None:
    """Each `./dev` and `tailsts` command on any page exists, with the options that are written."""
    dev = (ROOT / "dev").read_text()
    seen = 0
    for page in PAGES:
        for block in blocks(page.read_text(), "sh"):
            for words in commands(block):
                if words[0] == "./dev":
                    seen += 1
                    assert re.search(rf"^  {words[1]}\)", dev, re.MULTILINE), words
                    if words[1] == "run":
                        words[:2] = ["tailsts"]
                if words[0] == "tailsts":
                    refuse_unknown_options(words[1:])
    assert seen >= 8


def refuse_unknown_options(words: list[str]) -> None:
    """Fail unless the words are a command of ours with options that it has."""
    context = click.Context(main)
    command = main.get_command(context, words[0])
    if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
        command = command.commands.get(words[1])
    assert command is not None, words
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known, words


def test_the_policy_loads(folder: Path) -> None:
    """The policy that is shown loads without a warning, also when strict."""
    (text,) = blocks(README, "toml")
    (folder / "infra-prod.toml").write_text(text)
    loaded = load(folder, Options(strict=True))
    assert loaded.findings == []
    assert [policy.name for policy in loaded.generation.policies] == ["infra-prod"] if loaded.generation else False


@pytest.mark.parametrize("words", list(commands(blocks(section(README, "A policy"), "sh")[0])))
def test_check(words: list[str], tmp_path: Path) -> None:
    """The commands that check policies find nothing wrong with the policy that is shown, also when strict."""
    (tmp_path / "my-policies").mkdir()
    (tmp_path / "my-policies" / "infra-prod.toml").write_text(blocks(README, "toml")[0])
    done = subprocess.run(
        [sys.executable, "-m", "tailsts", *words[2:]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 policy loads; findings: 0 fault, 0 security, 0 advice\n"


def test_run_it(tmp_path: Path, tailscale: FakeTailscale) -> None:
    """The commands under "Run it", as they stand but for the ports and Tailscale, bring a token with both clients."""
    (tmp_path / "secret.txt").write_text(CLIENT_SECRET)
    issuer_port, port = free_port(), free_port()
    start, ask = blocks(section(README, "Run it"), "sh")[:2]
    texts = [
        text.replace("./dev run", RUN)
        .replace("k123CNTRL", CLIENT_ID)
        .replace("8080", str(port))
        .replace("8888", str(issuer_port))
        for text in (start, ask)
    ]
    policies = tmp_path / "policies"
    policies.mkdir()
    example = read("policies/policy.example.toml").replace("8888", str(issuer_port))
    (policies / "policy.example.toml").write_text(example)
    variables = environment(
        TS_TOKEN_URL=tailscale.token_url,
        PORT=str(port),
        TAILSTS_ISSUER_PORT=str(issuer_port),
        TAILSTS_SERVER=f"http://localhost:{port}",
    )
    log = tmp_path / "log"
    note_output(log)
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", texts[0]], cwd=tmp_path, env=variables, stderr=output, start_new_session=True
        )
    try:
        eventually(lambda: b"ready" in log.read_bytes() and b"keys fetched" in log.read_bytes(), 20)
        client, curl = commands(texts[1])
        done = subprocess.run(client, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("tskey-api-")
        assert as_curl(curl, tmp_path).startswith("tskey-api-")
        assert tailscale.scopes_asked() == ["devices:core:read"] * 2
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(30)
    (tmp_path / "secret.txt").unlink()


def as_curl(words: list[str], folder: Path) -> str:
    """Do what curl would do, on machines that have none: a POST with -d and -H."""
    assert words[:2] == ["curl", "-sS"]
    given = list(zip(words[3::2], words[4::2], strict=True))
    token = (folder / "token.jwt").read_text().strip()
    fields = [value.replace("$(cat token.jwt)", token).partition(": ") for name, value in given if name == "-H"]
    (body,) = [value for name, value in given if name == "-d"]
    url = urlsplit(words[2])
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=20)
    connection.request("POST", url.path, body, {name: value for name, _, value in fields})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_docker() -> None:
    """The container's command names ports, variables and a folder that the image and the server know."""
    (block,) = [block for block in blocks(README, "sh") if "docker run" in block]
    words = list(commands(block))[1]
    image = read("Dockerfile")
    assert words[words.index("-v") + 1].endswith(":/policies:ro")
    assert "POLICIES_DIR=/policies" in image
    assert words[words.index("-p") + 1] == "127.0.0.1:8080:8080"
    assert "TS_CLIENT_SECRET_FILE=/secret" in words
    assert any(word.endswith(":/secret:ro") for word in words)
    assert "EXPOSE 8080 9090" in image
    refuse_unknown_options(["serve", *words[words.index("tailsts") + 1 :]])
