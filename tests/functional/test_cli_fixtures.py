"""`tailsts fixtures`: the list, one fixture, and what cannot be asked for."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fakes.leaks import note_text
from tailsts.cli.fixtures import command
from tailsts.fixtures import fixture, names


def run(*words: str, **variables: str) -> Result:
    """Run the command."""
    result = CliRunner(env=variables).invoke(command, words, prog_name="tailsts fixtures")
    note_text(result.output)
    return result


def shown(*words: str, **variables: str) -> dict[str, Any]:
    """Return the claims that the command prints, and nothing beside them."""
    done = run(*words, **variables)
    assert (done.exit_code, done.stderr) == (0, "")
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_list() -> None:
    """Without a name each fixture is a line: name, issuer, description."""
    done = run()
    assert (done.exit_code, done.stderr) == (0, "")
    expected = [(name, f"{fixture(name).issuer}: {fixture(name).description}") for name in names()]
    assert expected == [tuple(line.split(maxsplit=1)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", names())
def test_one_as_if_it_were_made_now(name: str) -> None:
    """With a name it is the claims, in their order, of a token that is made now."""
    before = int(time.time())
    claims = shown(name)
    original = fixture(name).claims
    assert before <= claims["iat"] <= time.time()
    assert list(original) == list(claims)
    moved = claims["iat"] - original["iat"]
    times = {"iat", "nbf", "exp"}
    assert {key: value + moved if key in times else value for key, value in original.items()} == claims


def test_as_is() -> None:
    """--as-is, or its variable, leaves the times."""
    assert fixture("github").claims == shown("github", "--as-is")
    assert fixture("github").claims == shown("github", TAILSTS_FIXTURES_AS_IS="1")


def test_form() -> None:
    """One member a line, so that it can be read and changed, and a line end at the end."""
    lines = run("spiffe", "--as-is").stdout.split("\n")
    assert lines[:2] == ["{", '  "sub": "spiffe://example.org/ns/ci/sa/runner",']
    assert lines[-2:] == ["}", ""]


def test_no_such_fixture() -> None:
    """An unknown name is exit 2 and the nearest name, on standard error alone, in one line that steers no terminal."""
    done = run("githb")
    said = "tailsts: error: no fixture is called 'githb', perhaps github is meant (`tailsts fixtures` lists all)\n"
    assert (2, "", said) == (done.exit_code, done.stdout, done.stderr)
    hostile = run("\x1b[2J\n")
    assert (hostile.exit_code, hostile.stdout) == (2, "")
    assert hostile.stderr.removesuffix("\n").isprintable()


def test_one_at_a_time() -> None:
    """Two names are a wrong call."""
    done = run("github", "gitlab")
    assert (done.exit_code, done.stdout) == (2, "")
