"""Settings, arguments and files that are wrong on purpose: one clear line, an exit code that says so, no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.deployment import deployed
from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import environment, is_served, run, unused_port
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale

USAGE = 2
NO_HOST = "it is not a URL with a host"
PASSWORD = "it holds a user name or a password"
DEEP = "[" * 100_000
# What a policy's author would like a terminal, or a CI system, to take for its own.
HOSTILE_KEY = "a\n::error::all is well\x1b[2J\x1b]0;x\x07"


@pytest.fixture
def good(folder: Path) -> dict[str, str]:
    """Return settings with which the server starts, as variables."""
    (folder / "infra.toml").write_text(policy("https://issuer.example"))
    return {
        "TS_CLIENT_ID": CLIENT_ID,
        "TS_CLIENT_SECRET": CLIENT_SECRET,
        "TS_TOKEN_URL": "http://localhost:9/token",
        "POLICIES_DIR": str(folder),
        "PORT": "0",
    }


def fault(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line with which a command gave up."""
    assert (done.returncode, done.stdout) == (USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert line.startswith("tailsts: error: ")
    return line.removeprefix("tailsts: error: ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--ts-token-url", "https://h%00/"], "--ts-token-url https://h%00/: it is not a URL"),
        (["--ts-token-url", "https://xn--a/"], "--ts-token-url https://xn--a/: it is not a URL"),
        (["--ts-token-url", "https://h:99999/"], f"--ts-token-url https://h:99999/: {NO_HOST}"),
        (["--ts-token-url", "https://h/\nx\x1b"], rf"--ts-token-url https://h/\nx\x1b: {NO_HOST}"),
        (["--ts-token-url", "https://u:hunter2@h/"], f"--ts-token-url: {PASSWORD}"),
        (["--ts-token-url", "https://u:hunter2@h%00/"], f"--ts-token-url: {PASSWORD}"),
        (["--ts-token-url", "https://u:hunter2@[::1"], f"--ts-token-url: {NO_HOST}"),
        (["--host", "a..b"], "cannot listen on a..b: it is not a host name"),
        (["--host", "a" * 64], f"cannot listen on {'a' * 64}: it is not a host name"),
        (["--host", "a\nb"], r"cannot listen on a\nb: Name or service not known"),
        (["--admin-host", "a..b", "--admin-port", "0"], "cannot listen on a..b: it is not a host name"),
    ],
)
def test_l02_serve(good: dict[str, str], options: list[str], expected: str) -> None:
    """L-02, L-05: an address that is none keeps the server from starting, in one line, without a password in it."""
    assert fault(run("serve", *options, given=None, cwd=None, **good)) == expected


def test_an_audit_log_that_nobody_reads(good: dict[str, str], tmp_path: Path) -> None:
    """A FIFO without a reader as the audit log is a fault: the server does not wait for the reader."""
    fifo = tmp_path / "audit"
    os.mkfifo(fifo)
    done = run("serve", "--audit-log", str(fifo), given=None, cwd=None, **good)
    assert fault(done) == f"--audit-log {fifo} cannot be opened: No such device or address"


def trade(*options: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the client, on loopback, where nobody listens, unless the options name another server."""
    usual = ("--server", f"http://127.0.0.1:{unused_port()}", "--scope", "dns:read", "--timeout", "1")
    return run("token", *usual, *options, given=given, cwd=None, OIDC_TOKEN="a.b.c" if given is None else "-")


@pytest.mark.parametrize(
    "server",
    [
        "http://h:99999",
        "http://a b/",
        "http://[::1",
        "http://h\n/",
        "https://h%00/",
        "https://xn--a/",
        "http://u:hunter2@h/",
        "https://u:hunter2@h%00/",
        "ftp://h/",
        "h",
        "",
    ],
)
def test_the_client_and_a_server_that_is_none(server: str) -> None:
    """What is not the URL of a server is a wrong call, said in one line, never with a password in it."""
    line = fault(trade("--server", server))
    assert line.startswith("--server")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        (["--timeout", "nan"], None, "--timeout is not a number of seconds"),
        (["word"], None, "there is a word too many; the token is given by --token - or --token-file"),
        ([], "x" * 70 * 1024, "what was given is not a token: it is too long"),
        (["--token-file", "/dev/zero"], None, "what was given is not a token: it is too long"),
    ],
)
def test_wrong_calls_of_the_client(options: list[str], given: str | None, expected: str) -> None:
    """A time-out that is no number, a word too many, a token without end: each is a wrong call, said in one line."""
    assert fault(trade(*options, given=given)) == expected


def test_l02_check_writes_no_line_of_a_policys_own(folder: Path) -> None:
    """L-02: a key of a policy cannot write a line into the output of `check`, nor steer a terminal or a CI system."""
    key = HOSTILE_KEY.replace("\n", "\\n").replace("\x1b", "\\u001b").replace("\x07", "\\u0007")
    (folder / "infra.toml").write_text(policy("https://issuer.example") + f'"{key}" = 1\n')
    done = run("check", str(folder), given=None, cwd=None)
    line, summary = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    shown = r"a\n::error::all is well\x1b[2J\x1b]0;x\x07"
    assert line.startswith(f"{folder}/infra.toml: fault: {shown} is not a key of a policy (known: algorithm, ")
    assert line.endswith(" [unknown-key]")
    assert line.isprintable()
    assert summary == "would not load; findings: 1 fault, 0 security, 0 advice"


def test_p13_check_of_a_number_without_end(folder: Path) -> None:
    """P-13: a number of 5,000 digits, which Python does not read, is one fault of the file's syntax."""
    (folder / "infra.toml").write_text(f"max_lifetime = {'9' * 5000}\n")
    done = run("check", str(folder), given=None, cwd=None)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"{folder}/infra.toml: fault: not TOML: a number with too many digits [syntax]",
        "would not load; findings: 1 fault, 0 security, 0 advice",
    ]


def test_a_claim_that_is_nested_too_deep() -> None:
    """A claim that is nested to overflow is a wrong call of the development issuer, and not repeated at length."""
    done = run("issuer", "--port", "0", "--claim", f"x:={DEEP}", given=None, cwd=None)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.splitlines()[-1] == f"Error: Invalid value for --claim: {'[' * 100!r} is not JSON"


def test_without_standard_error(good: dict[str, str], issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """With standard error closed the server starts and serves, and stops when it is told to."""
    Path(good["POLICIES_DIR"], "infra.toml").write_text(policy(issuer.url))
    port = unused_port()
    variables = environment(**{**good, "PORT": str(port), "TS_TOKEN_URL": tailscale.token_url})
    # The shell closes it, as an operator would; `exec` leaves no shell behind to be told to stop instead.
    command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "tailsts"]
    process = subprocess.Popen([*command, "serve"], env=variables, stdout=subprocess.PIPE)
    try:
        eventually(lambda: is_served(port) or process.poll() is not None, 30)
        assert process.poll() is None
        server = f"http://127.0.0.1:{port}"
        done = run("token", "--server", server, "--scope", "dns:read", given=None, cwd=None, OIDC_TOKEN=issuer.token())
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("tskey-api-k")
    finally:
        process.terminate()
        stdout, _ = process.communicate(timeout=40)
    assert (process.returncode, stdout) == (0, b"")


def test_l02_a_hostile_policy_on_reload(tmp_path: Path) -> None:
    """P-17, L-02: a hostile policy on reload is a fault in one line of readiness and log; the old ones stay."""
    with deployed(tmp_path, without=["--json-logging"]) as site:
        service = site.service
        service.write_policy("bad", policy(site.issuer.url) + '"a\\n::error::\\u001b[2J" = 1\n')
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: "policies not reloaded" in service.log.read_text())
        (said,) = service.readiness()["reload_faults"]
        assert service.exchange(site.issuer.token()).status == 200
    assert r"fault: a\n::error::\x1b[2J is not a key of a policy" in said
    lines = service.log.read_text().splitlines()
    assert len([line for line in lines if "::error::" in line]) == 1
    assert all(line.isprintable() for line in (said, *lines))
