"""`tailsts audit`: the log of a running service, and logs of every other kind."""

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.service import environment, run

BROKEN, USAGE = 1, 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a service that has decided four exchanges; no test here adds any."""
    with deployed(tmp_path_factory.mktemp("audit")) as site:
        site.service.exchange(site.issuer.token())
        site.service.exchange(site.issuer.token(), ["users"])
        site.service.exchange(site.issuer.token(sub="repo:acme/other:x"))
        site.service.exchange(site.issuer.token(exp=1, sub="\x1b[2J"))
        eventually(lambda: len(site.service.events()) == 4)
        yield site


def audit(*arguments: str, given: str | None = None, **variables: str) -> tuple[int, str, str]:
    """Run it; return exit code, standard output and standard error."""
    done = run("audit", *arguments, given=given, cwd=None, **variables)
    return done.returncode, done.stdout, done.stderr


def reasons(text: str) -> list[str]:
    """Return the reason in each line."""
    return [line.split()[2] for line in text.splitlines()]


def test_the_log_of_a_service(site: Deployment) -> None:
    """Each decision is a line, in the order of the log, with what came of it and its id."""
    code, stdout, stderr = audit(str(site.service.audit_log))
    assert (code, stderr) == (0, "")
    assert reasons(stdout) == ["granted", "scope_not_allowed", "subject_not_allowed", "expired"]
    assert [line.rpartition("=")[2] for line in stdout.splitlines()] == [
        event["decision"] for event in site.service.events()
    ]
    assert all(line.isprintable() for line in stdout.splitlines())
    assert 'unverified_subject="\\u001b[2J"' in stdout


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        (["--denied"], {}, ["scope_not_allowed", "subject_not_allowed", "expired"]),
        (["--granted"], {}, ["granted"]),
        (["--failed"], {}, []),
        (["--failed", "--granted"], {}, ["granted"]),
        (["--policy", "infra", "--denied"], {}, ["scope_not_allowed", "subject_not_allowed"]),
        (["--policy", "x"], {}, []),
        (["--subject", "repo:acme/other:*"], {}, ["subject_not_allowed"]),
        (["--subject", "repo:acme/other"], {}, []),
        (["--reason", "expired", "--reason", "granted"], {}, ["granted", "expired"]),
        (["--issuer", "https://other.example"], {}, []),
        (["--since", "1h", "--reason", "granted"], {}, ["granted"]),
        (["--until", "1h"], {}, []),
        ([], {"TAILSTS_AUDIT_GRANTED": "1"}, ["granted"]),
        ([], {"TAILSTS_AUDIT_REASON": "expired granted"}, ["granted", "expired"]),
    ],
)
def test_filters(site: Deployment, options: list[str], variables: dict[str, str], expected: list[str]) -> None:
    """Options, or their variables, choose among the decisions."""
    code, stdout, _ = audit(str(site.service.audit_log), *options, **variables)
    assert (code, reasons(stdout)) == (0, expected)


@pytest.mark.parametrize(
    "options", [["--policy", "nosuch"], ["--reason", "replayed"], ["--failed"], ["--until", "1h", "--format", "json"]]
)
def test_none_is_found(site: Deployment, options: list[str]) -> None:
    """Where no decision matches, that is said, with how many there are: nothing is not a fault, and not silent."""
    log = str(site.service.audit_log)
    assert audit(log, *options) == (0, "", "tailsts: 0 of 4 decisions match\n")
    code, stdout, stderr = audit(log, *options, "--summary")
    assert (code, "0" in stdout, stderr) == (0, True, "tailsts: 0 of 4 decisions match\n")


def test_a_reason_that_does_not_exist(site: Deployment) -> None:
    """A reason that nothing ends with is exit 2, with those that may be meant; others that are asked for are shown."""
    log = str(site.service.audit_log)
    code, stdout, stderr = audit(log, "--reason", "scopes_not_allowed\x1b")
    assert (code, stdout) == (USAGE, "")
    first, second = stderr.splitlines()
    assert first == "tailsts: 0 of 4 decisions match"
    assert second.startswith(
        'tailsts: error: --reason "scopes_not_allowed\\x1b" does not exist; did you mean scope_not_'
    )
    code, stdout, stderr = audit(log, "--reason", "expired", "--reason", "nosuchreason")
    assert (code, reasons(stdout)) == (USAGE, ["expired"])
    assert stderr.startswith('tailsts: error: --reason "nosuchreason" does not exist; ')


@pytest.mark.parametrize("options", [[], ["--granted"]])
def test_a_reason_of_a_later_version(site: Deployment, tmp_path: Path, options: list[str]) -> None:
    """A reason that this version does not know exists if the log has it, whatever else is asked for."""
    log = tmp_path / "audit.jsonl"
    log.write_text(site.service.audit_log.read_text().replace('"scope_not_allowed"', '"moon_not_allowed"'))
    code, stdout, stderr = audit(str(log), "--reason", "moon_not_allowed", *options)
    expected = ([], "tailsts: 0 of 4 decisions match\n") if options else (["moon_not_allowed"], "")
    assert (code, (reasons(stdout), stderr)) == (0, expected)


def test_json(site: Deployment) -> None:
    """As JSON, the events are handed on whole, one a line."""
    log = site.service.audit_log
    code, stdout, _ = audit("--format", "json", TAILSTS_AUDIT_LOG=str(log))
    assert (code, [json.loads(line) for line in stdout.splitlines()]) == (0, site.service.events())


def test_summary(site: Deployment) -> None:
    """--summary has the totals, in words or as one object."""
    log = str(site.service.audit_log)
    code, stdout, _ = audit(log, "--summary")
    lines = stdout.splitlines()
    assert (code, lines[0]) == (0, "exchanges: 4 (3 denied, 1 granted)")
    assert "infra   refused   scope_not_allowed        1" in lines
    _, stdout, _ = audit(log, "--summary", "--denied", "--format", "json")
    value = json.loads(stdout)
    assert (value["exchanges"], value["denied"], value["broken_lines"]) == (3, 3, 0)
    assert {"policy": "infra", "outcome": "refused", "reason": "scope_not_allowed", "count": 1} in value["policies"]


@pytest.mark.parametrize("without", [("--audit-log",), ("--audit-log", "--json-logging")])
def test_the_log_of_everything(tmp_path: Path, without: tuple[str, ...]) -> None:
    """Without a log of its own, the audit is read from the service's log, of either kind; other lines are counted."""
    with deployed(tmp_path, without=without) as site:
        site.service.exchange(site.issuer.token())
        site.service.exchange(site.issuer.token(sub="{"))
        eventually(lambda: site.service.log.read_text().count('"event":"exchange"') == 2)
    code, stdout, stderr = audit(str(site.service.log))
    assert (code, reasons(stdout)) == (0, ["granted", "subject_not_allowed"])
    assert stderr.startswith("tailsts: lines about something else: ")


def test_several_files(site: Deployment, tmp_path: Path) -> None:
    """Files are read one after the other, rotated and compressed ones and standard input as well."""
    raw = site.service.audit_log.read_bytes()
    first, *rest = raw.splitlines(keepends=True)
    old = tmp_path / "audit.jsonl.1.gz"
    old.write_bytes(gzip.compress(rest[0]))
    code, stdout, stderr = audit(str(old), "-", given=first.decode())
    assert (code, stderr, reasons(stdout)) == (0, "", ["scope_not_allowed", "granted"])


def test_lines_that_cannot_be_read(site: Deployment, tmp_path: Path) -> None:
    """Lines that are broken are counted and said, with exit 1; a last line that is not whole is said."""
    raw = site.service.audit_log.read_bytes()
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"\0\0\n" + raw + b"x" * (3 * 1024 * 1024) + b"\n" + raw[:100])
    code, stdout, stderr = audit(str(log), "--granted")
    assert (code, reasons(stdout)) == (BROKEN, ["granted"])
    assert stderr.splitlines() == [
        f"tailsts: error: the last line of {log} is not whole; perhaps it is being written",
        f"tailsts: error: lines that cannot be read: 2; the first is line 1 of {log}",
    ]
    log.write_bytes(raw + raw[:100])
    code, _, stderr = audit(str(log), "--summary")
    assert (code, stderr.count("\n")) == (0, 1)
    _, stdout, _ = audit(str(log), "--summary", "--format", "json")
    assert json.loads(stdout)["broken_lines"] == 0


def test_files_that_cannot_be_read(site: Deployment, tmp_path: Path) -> None:
    """A file that is not there, or is not whole, is exit 2 and said; what can be read is shown."""
    torn, log = tmp_path / "torn.gz", str(site.service.audit_log)
    torn.write_bytes(gzip.compress(site.service.audit_log.read_bytes())[:-10])
    code, stdout, stderr = audit(str(tmp_path), "missing\x1b", str(torn), log, "--granted")
    assert (code, set(reasons(stdout))) == (USAGE, {"granted"})
    assert stderr.splitlines() == [
        f"tailsts: error: {tmp_path} cannot be read: Is a directory",
        "tailsts: error: missing\\x1b cannot be read: No such file or directory",
        f"tailsts: error: {torn} is not a whole gzip file",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no file: give the audit log, or - for standard input"),
        (["x", "--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["x", "--since", "lately"], "--since is not a moment: "),
    ],
)
def test_called_wrongly(arguments: list[str], said: str) -> None:
    """A call that makes no sense is exit 2."""
    code, stdout, stderr = audit(*arguments)
    assert (code, stdout) == (USAGE, "")
    assert stderr.startswith(f"tailsts: error: {said}")


def test_a_log_that_is_larger_than_memory(site: Deployment, tmp_path: Path) -> None:
    """A log is read line by line: one that does not fit into the memory that is there is summed up."""
    bound = 400 * 1024 * 1024
    line = site.service.audit_log.read_bytes().splitlines(keepends=True)[0]
    log = tmp_path / "audit.jsonl"
    with log.open("wb") as file:
        for _ in range(5):
            file.write(line * (10 * 1024 * 1024 // len(line)))
        # One line that alone is as large as all that may be used, in a file that holds nothing there.
        file.seek(bound, os.SEEK_CUR)
        file.write(b"\n" + line)
    done = subprocess.run(
        [sys.executable, "-m", "tailsts", "audit", str(log), "--summary", "--format", "json"],
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (bound, bound)),
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stderr.count("\n")) == (BROKEN, 1)
    value = json.loads(done.stdout)
    assert value["exchanges"] == 5 * (10 * 1024 * 1024 // len(line)) + 1
    assert value["broken_lines"] == 1
