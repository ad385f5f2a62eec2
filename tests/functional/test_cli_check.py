"""`tailsts check` as a process: its formats, its configuration, and issuers that are asked."""

import json
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import unquote

import pytest

from fakes.http import CLOSE
from fakes.issuer import FakeIssuer
from fakes.pages import read
from fakes.policies import policy
from fakes.service import run
from tailsts.cli import COMMANDS

SHARED = 'issuer = "https://gitlab.com"\naudience = "a"\nallowed_scopes = ["dns:read"]\n'
PROJECT = '[claims]\nproject_id = "20"\nnamespace_id = "72"\n'
PROTECTED = f'{SHARED}{PROJECT}ref_protected = "true"\n'


def sarif(*arguments: str, cwd: Path) -> dict[str, Any]:
    """Return the one run of the SARIF log."""
    log = json.loads(run("check", "--format", "sarif", *arguments, cwd=cwd).stdout)
    assert (log["version"], log["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    (found,) = log["runs"]
    assert isinstance(found, dict)
    return found


def test_sarif(folder: Path) -> None:
    """Each finding is a result with rule, level, text and place, relative to where the check runs; each code a rule."""
    (folder / "a b.toml").write_text(f"{SHARED}{PROJECT}")
    (folder / "c.toml").write_text(SHARED + 'subject = "x"')
    (folder / "e.toml").write_text('subject = "x"')
    (folder / "d.toml").write_text(PROTECTED.replace('"true"', "true"))
    found = sarif(folder.name, cwd=folder.parent)
    rules = [rule["id"] for rule in found["tool"]["driver"]["rules"]]
    assert rules == sorted(set(rules))
    levels = {}
    for result in found["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
        file, line = folder.parent / unquote(place["artifactLocation"]["uri"]), place["region"]["startLine"]
        levels[file.name, result["ruleId"]] = result["level"], file.read_text().splitlines()[line - 1]
    assert levels["a b.toml", "unprotected-branch"] == ("note", "[claims]")
    assert levels["d.toml", "claim-type"] == ("warning", "ref_protected = true")
    assert levels["c.toml", "subject-form"] == ("note", 'subject = "x"')
    assert levels["e.toml", "missing"][0] == "error"


def test_sarif_of_an_absolute_folder(folder: Path) -> None:
    """Files elsewhere are named by their whole address; a folder without findings is an empty run."""
    (folder / "a.toml").write_text(f"{SHARED}{PROJECT}")
    (result,) = sarif(str(folder), cwd=folder)["results"]
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": (folder / "a.toml").as_uri()}
    (folder / "a.toml").write_text(PROTECTED)
    found = sarif(str(folder), cwd=folder)
    assert (found["results"], found["tool"]["driver"]["rules"]) == ([], [])


def test_github(folder: Path) -> None:
    """Each finding is one workflow command, whose values hold nothing that would end them."""
    (folder / "a,b:%.toml").write_text(f"{SHARED}{PROJECT}")
    (folder / "d.toml").write_text(PROTECTED.replace('"true"', "true") + '"namespace_path\\u000a" = "::"\n')
    done = run("check", "--format", "github", folder.name, cwd=folder.parent)
    *commands, summary = done.stdout.splitlines()
    place = f"{folder.name}/a%2Cb%3A%25.toml"
    assert commands[0].startswith(
        f"::notice file={place},line=4,title=tailsts check%3A unprotected-branch::claims is met"
    )
    names = [
        re.findall(r"^::([a-z]+) file=[^,:%]+/d\.toml,line=([0-9]+),title=tailsts check%3A ([a-z-]+)::", line)
        for line in commands
    ]
    # A key that is escaped in the file is not looked for: the line is that of its table.
    assert names == [
        [],
        [("notice", "4", "unknown-claim")],
        [("warning", "7", "claim-type")],
        [("notice", "1", "covered")],
    ]
    assert summary == "2 policies load; findings: 0 fault, 1 security, 3 advice"
    assert done.returncode == 0


def test_together(folder: Path) -> None:
    """What lies beside each other is compared, also where strictness keeps it from loading."""
    (folder / "a.toml").write_text(PROTECTED)
    (folder / "b.toml").write_text(f"{PROTECTED}ref = 'main'\n")
    (folder / "c.toml").write_text(f"not_after = 2020-01-01T00:00:00Z\n{PROTECTED}user_id = '1'\n")
    said = (
        f"{folder}/b.toml: advice: allows nothing that {folder}/a.toml does not allow as well (remove one of the two)"
    )
    done = run("check", str(folder))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"{said} [covered]")
    assert f"{folder}/c.toml:1: advice: not_after is in the past" in done.stdout
    (folder / "d.toml").write_text('issuer = "https://i.example"\nallowed_scopes = ["dns:read"]\n')
    strict = run("check", "--strict", str(folder))
    assert strict.returncode == 1
    assert said in strict.stdout
    assert "would not load" in strict.stdout
    (folder / "d.toml").write_text("nonsense")
    assert said not in run("check", "--strict", str(folder)).stdout


def test_configuration(folder: Path, tmp_path: Path) -> None:
    """The configuration says which tailnets there are, and which issuers are trusted; its secrets are not wanted."""
    (folder / "a.toml").write_text(f'tailnet = "prod"\n{PROTECTED}')
    assert run("check", str(folder)).returncode == 1
    config = tmp_path / "tailsts.toml"
    config.write_text(
        '[tailnets.prod]\nclient_id = "x"\nclient_secret = "${NOT_SET}"\n[trusted_issuers]\nissuers = ["https://b.example"]\n'
    )
    done = run("check", "--config", str(config), str(folder))
    assert done.returncode == 0
    assert "[untrusted-issuer]" in done.stdout
    assert run("check", "--strict", "--config", str(config), str(folder)).returncode == 1
    config.write_text("[nonsense]")
    assert run("check", "--config", str(config), str(folder)).returncode == 2


@pytest.mark.parametrize("by_variable", [False, True])
def test_online(folder: Path, issuer: FakeIssuer, by_variable: bool) -> None:
    """Only with --online are issuers asked, and then a silent one fails the check, though the policies load."""
    (folder / "a.toml").write_text(policy(issuer.url, allowed_scopes=["dns:read"]))
    assert run("check", str(folder)).returncode == 0
    assert issuer.requests == []

    def check(*options: str) -> CompletedProcess[str]:
        if by_variable:
            return run("check", *options, str(folder), TAILSTS_CHECK_ONLINE="1")
        return run("check", "--online", *options, str(folder))

    assert check().returncode == 0
    issuer.trouble = CLOSE
    done = check("--format", "json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["policies"]) == (1, False, 1)
    assert [one["code"] for one in report["findings"] if one["severity"] == "fault"] == ["online-keys"]


def test_hooks() -> None:
    """The hooks for pre-commit call commands that exist, with options that they have."""
    entries = re.findall(r"^  entry: tailsts (\S+)(.*)$", read(".pre-commit-hooks.yaml"), re.MULTILINE)
    assert [command for command, _ in entries] == ["check", "test"]
    for command, options in entries:
        assert command in COMMANDS
        done = run(command, *options.split(), "--help")
        assert done.returncode == 0
        assert all(option in done.stdout for option in options.split())


def test_hooks_are_whole() -> None:
    """Each hook has what pre-commit wants of it, in lines of the one form that this file has."""
    lines = [line for line in read(".pre-commit-hooks.yaml").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"(- |  )[a-z_]+: \S.*", line) for line in lines)
    for hook in "\n".join(lines).split("\n- "):
        keys = re.findall(r"^(?:- |  )?([a-z_]+):", hook, re.MULTILINE)
        assert {"id", "name", "entry", "language", "files", "pass_filenames"} <= set(keys)


def test_the_hook_runs(folder: Path) -> None:
    """What the hook runs fails where a strict server would not start, and passes otherwise."""
    (folder / "a.toml").write_text(PROTECTED)
    assert run("check", "--strict", "policies", cwd=folder.parent).returncode == 0
    (folder / "a.toml").write_text(PROTECTED.replace('"true"', "true"))
    assert run("check", "--strict", "policies", cwd=folder.parent).returncode == 1
