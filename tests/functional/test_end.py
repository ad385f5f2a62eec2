"""How a command ends: what it printed is whole, and its status is kept, whatever its threads are still about."""

import subprocess
import sys

import msgspec
import pytest
from click.testing import CliRunner

from tailsts.cli.schema import command as schema

TAILSTS = (sys.executable, "-m", "tailsts")


def test_all_is_printed() -> None:
    """A pipe gets all that a command prints, though the process does not end as Python programs do."""
    done = subprocess.run([*TAILSTS, "schema"], capture_output=True, timeout=60, check=True)
    assert CliRunner().invoke(schema).stdout_bytes == done.stdout
    assert msgspec.json.decode(done.stdout)["title"]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--version"], 0), (["no-such-command"], 2), (["check", "/no/such/folder"], 1)],
)
def test_the_status_is_kept(words: list[str], status: int) -> None:
    """The status is the command's."""
    assert subprocess.run([*TAILSTS, *words], capture_output=True, timeout=60, check=False).returncode == status


def test_a_reader_that_has_gone() -> None:
    """A reader that stops early, like `head`, causes no traceback, and the command is none that went well."""
    with subprocess.Popen([*TAILSTS, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) != 0
