"""`tailsts probe` at a running service: exchanges that must pass, and exchanges that must fail."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.deployment import Deployment, deployed
from fakes.http import HANG, ScriptedServer, eventually, http
from fakes.leaks import note_text
from fakes.policies import policy
from fakes.service import environment, run, unused_port

AS_EXPECTED, NOT_AS_EXPECTED, USAGE, UNREACHABLE = 0, 1, 2, 3

USUAL = """
[[probe]]
name       = "ci may read devices"
token_file = "ci.jwt"
scopes     = ["devices:core:read"]
expect     = "allow"

[[probe]]
name       = "ci may not add users"
token_file = "ci.jwt"
scopes     = ["users"]
expect     = "deny"
reason     = "scope_not_allowed"

[[probe]]
name      = "strangers get nothing"
token_env = "STRANGER"
scopes    = ["devices:core:read"]
expect    = "deny"
reason    = "subject not allowed"

[[probe]]
name       = "signatures are verified"
token_file = "ci.jwt"
tampered   = true
scopes     = ["devices:core:read"]
expect     = "deny"
status     = 401
"""
ONE = '[[probe]]\nname = "p"\ntoken_env = "TOKEN"\nscopes = ["devices:core:read"]\nexpect = '


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("probe")) as site:
        yield site


def probe(folder: Path, text: str, server: str, *options: str, **variables: str) -> tuple[int, str, str]:
    """Run the probes in a text; return exit code, standard output and standard error."""
    file = folder / "probes.toml"
    file.write_text(f'server = "{server}"\n{text}')
    done = run("probe", str(file), *options, cwd=None, **variables)
    note_text(done.stdout)
    return done.returncode, done.stdout, done.stderr


def usual(site: Deployment, folder: Path, *options: str) -> tuple[int, str, str]:
    """Run the usual probes, with good tokens."""
    (folder / "ci.jwt").write_text(site.issuer.token() + "\n")
    return probe(folder, USUAL, site.service.url, *options, STRANGER=site.issuer.token(sub="x"))


def test_as_expected(site: Deployment, tmp_path: Path) -> None:
    """Exchanges that pass and exchanges that fail as they must are exit 0, each in a line; no token is shown."""
    code, stdout, stderr = usual(site, tmp_path)
    lines = stdout.splitlines()
    assert (code, stderr) == (AS_EXPECTED, "")
    assert [line.split(" (")[0] for line in lines[:-1]] == [
        "ok   ci may read devices      200 granted",
        "ok   ci may not add users     403 denied: scopes not allowed",
        "ok   strangers get nothing    403 denied: subject not allowed",
        "ok   signatures are verified  401 invalid token",
    ]
    assert lines[-1].endswith("Z probes: 4, not as expected: 0")


def test_decisions_are_named(site: Deployment, tmp_path: Path) -> None:
    """Each answer comes with the id of its decision, under which the audit log has it."""
    code, stdout, _ = usual(site, tmp_path, "--format", "json")
    value = json.loads(stdout)
    assert (code, value["as_expected"]) == (AS_EXPECTED, True)
    ids = {each["decision"]: each["status"] for each in value["probes"] if each["decision"]}
    outcomes = {"granted": 200, "refused": 403, "rejected": 401}

    def logged() -> dict[str, int]:
        events = site.service.events()
        return {each["decision"]: outcomes[each["outcome"]] for each in events if each["decision"] in ids}

    eventually(lambda: logged() == ids)
    assert sorted(ids.values()) == [200, 401, 403, 403]


def test_junit(site: Deployment, tmp_path: Path) -> None:
    """As JUnit XML each probe is a case, and what is not as expected is a failure."""
    text = ONE + '"deny"\n' + ONE.replace('"p"', '"q\\u0001"') + '"allow"\n'
    code, stdout, _ = probe(tmp_path, text, site.service.url, "--format", "junit", TOKEN=site.issuer.token())
    suite = ET.fromstring(stdout)[0]  # noqa: S314 - our own
    assert code == NOT_AS_EXPECTED
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [(case.get("name"), len(case)) for case in suite] == [("p", 1), ("q\\x01", 0)]
    message = "expected 403, but the server answered 200: a token was handed out"
    assert suite[0][0].get("message") == message


@pytest.mark.parametrize(
    ("rest", "claims", "fault"),
    [
        ('"deny"', {}, "expected 403, but the server answered 200: a token was handed out"),
        (
            '"allow"',
            {"sub": "x"},
            "expected 200 (a token was handed out), but the server answered 403: denied: subject not allowed",
        ),
        (
            '"deny"\nreason = "scope_not_allowed"',
            {"sub": "x"},
            "expected 403: denied: scopes not allowed, but the server said: denied: subject not allowed",
        ),
        (
            '"deny"',
            {"exp": 1_000_000_000},
            "expected 403, but the server answered 401: invalid token; the token expired ",
        ),
    ],
)
def test_not_as_expected(site: Deployment, tmp_path: Path, rest: str, claims: dict[str, Any], fault: str) -> None:
    """What is not as expected is exit 1, and said: a denial for another reason, too, and that a token is too old."""
    code, stdout, stderr = probe(tmp_path, ONE + rest, site.service.url, TOKEN=site.issuer.token(**claims))
    assert (code, stderr) == (NOT_AS_EXPECTED, "")
    assert stdout.splitlines()[0].startswith("FAIL p  ")
    assert stdout.splitlines()[1].startswith(f"     {fault}")


def test_a_token_that_is_missing(site: Deployment, tmp_path: Path) -> None:
    """Without its token, a probe fails, also one that expects a denial, and the others are run all the same."""
    text = ONE + '"deny"\n' + ONE.replace('"p"', '"q"').replace("TOKEN", "OTHER") + '"allow"\n'
    code, stdout, _ = probe(tmp_path, text, site.service.url, OTHER=site.issuer.token())
    lines = stdout.splitlines()
    assert code == NOT_AS_EXPECTED
    assert lines[1] == "     token_env TOKEN is not set, or empty"
    assert lines[2].startswith("ok   q  200 granted")


def test_a_token_is_used_once(tmp_path: Path) -> None:
    """Of a policy with single_use, the same token buys one access token: the second time it is `replayed`."""
    text = ONE + '"allow"\n' + ONE.replace('"p"', '"again"') + '"deny"\nreason = "replayed"\n'
    with deployed(tmp_path) as site:
        site.service.write_policy("infra", policy(site.issuer.url, single_use=True))
        site.service.reload()
        code, stdout, stderr = probe(tmp_path, text, site.service.url, TOKEN=site.issuer.token())
    assert (code, stderr) == (AS_EXPECTED, ""), stdout
    assert "ok   again  403 denied: the token was used already (decision " in stdout


def test_no_server(tmp_path: Path) -> None:
    """Where no server answers, whatever is expected, it is exit 3."""
    url = f"http://127.0.0.1:{unused_port()}"
    for expect in ("allow", "deny"):
        code, stdout, _ = probe(tmp_path, f'{ONE}"{expect}"', url, TOKEN="a.b.c")
        assert code == UNREACHABLE
        assert stdout.startswith("FAIL p  no answer (decision unknown, ")
        assert f"no answer: {url}/: Connection refused" in stdout


def test_servers_that_are_no_tailsts(tmp_path: Path) -> None:
    """A denial without a decision id, a page, a redirect or silence is never as expected, nor shown."""
    answers = {
        "deny": [http(403, b"denied: blocked a.b.c"), http(204, b""), http(307, b"secret", location="/"), HANG],
        "allow": [http(200, b"<html>secret page</html>"), http(201, b"secret")],
    }
    for expect, replies in answers.items():
        for reply in replies:
            with ScriptedServer(lambda _request, reply=reply: reply) as server:  # type: ignore[misc]
                url = f"http://127.0.0.1:{server.port}"
                code, stdout, _ = probe(tmp_path, f'{ONE}"{expect}"', url, "--timeout", "0.5", TOKEN="a.b.c")
                assert len(server.requests) == 1
            assert code in {NOT_AS_EXPECTED, UNREACHABLE}
            assert stdout.startswith("FAIL p")
            assert "secret" not in stdout
            assert "a.b.c" not in stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--every", "soon"], "--every is not a duration of up to a day, like 60s or 5m"),
        (["--timeout", "nan"], "--timeout is not a number of seconds"),
        (["--metrics-port", "0"], "--metrics-port needs --every"),
        (["--every", "1s", "--format", "junit"], "--format junit is of one round, and --every runs many"),
        (["--server", "sts.example.com"], "--server: http:// or https:// is missing before the host"),
        (["--server", "https://me:secret@sts.example.com"], "--server: it holds a user name or a password"),
    ],
)
def test_called_wrongly(tmp_path: Path, options: list[str], said: str) -> None:
    """A call that makes no sense is exit 2, and no probe is run."""
    code, stdout, stderr = probe(tmp_path, ONE + '"allow"', "http://127.0.0.1:1", *options)
    assert (code, stdout, stderr) == (USAGE, "", f"tailsts: error: {said}\n")


def test_faults_of_the_file(tmp_path: Path) -> None:
    """Every fault of the file is said at once, with its line; so is a file that others can change."""
    code, stdout, stderr = probe(tmp_path, '[[probe]]\nname = "p"\nexpect = "no"\n', "ftp://x")
    file = tmp_path / "probes.toml"
    assert (code, stdout) == (USAGE, "")
    assert f"{file}:1: fault: server cannot be used: its scheme is neither https nor http [server]" in stderr
    assert f'{file}:2: fault: probe 1.expect is neither "allow" nor "deny" [expect]' in stderr
    file.chmod(0o666)
    done = run("probe", str(file))
    assert (done.returncode, "can be changed by everybody" in done.stderr) == (USAGE, True)


def samples(text: str) -> dict[tuple[str, str], float]:
    """Return the value of each metric, by its name and its probe."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, sample.labels.get("probe", "")): sample.value for family in families for sample in family.samples
    }


def test_metrics_of_one_round(site: Deployment, tmp_path: Path) -> None:
    """--metrics-file has what came of each probe, for a node exporter; nothing else is left there."""
    metrics = tmp_path / "metrics" / "probe.prom"
    options = ("--metrics-file", str(metrics))
    text = ONE + '"deny"\n' + ONE.replace('"p"', "'a\"b\\c'") + '"allow"\n'
    code, _, stderr = probe(tmp_path, text, site.service.url, *options, TOKEN=site.issuer.token())
    assert (code, stderr) == (
        NOT_AS_EXPECTED,
        f"tailsts: error: --metrics-file {metrics} cannot be written: No such file or directory\n",
    )
    metrics.parent.mkdir()
    probe(tmp_path, text, site.service.url, *options, TOKEN=site.issuer.token())
    found = samples(metrics.read_text())
    assert found["tailsts_probe_success", "p"] == 0
    assert found["tailsts_probe_success", 'a"b\\c'] == 1
    assert found["tailsts_probe_status", "p"] == 200
    assert found["tailsts_probe_duration_seconds", "p"] > 0
    assert found["tailsts_probe_last_run_timestamp_seconds", ""] > 1_600_000_000
    assert list(metrics.parent.iterdir()) == [metrics]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_again_and_again(site: Deployment, tmp_path: Path, number: int) -> None:
    """With --every it goes on, reads token files anew, serves metrics on loopback, and stops with 0 when told."""
    file, token = tmp_path / "probes.toml", tmp_path / "ci.jwt"
    token.write_text(site.issuer.token())
    file.write_text(
        f'server = "{site.service.url}"\n' + ONE.replace('token_env = "TOKEN"', 'token_file = "ci.jwt"') + '"allow"'
    )
    options = ["--every", "1s", "--metrics-port", "0", "--format", "json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "tailsts", "probe", str(file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    url = running.stderr.readline().rpartition(" at ")[2].strip()

    def scraped() -> dict[tuple[str, str], float]:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - it is on this machine
            return samples(answer.read().decode())

    assert json.loads(running.stdout.readline())["as_expected"] is True
    eventually(lambda: scraped().get(("tailsts_probe_success", "p")) == 1)
    token.write_text(site.issuer.token(sub="x"))
    eventually(lambda: scraped()["tailsts_probe_success", "p"] == 0)
    assert scraped()["tailsts_probe_status", "p"] == 403
    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=30)
    assert (running.returncode, stderr) == (0, "")
    assert all(json.loads(line)["probes"] for line in stdout.splitlines())
