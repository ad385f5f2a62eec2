"""`tailsts schema`: the schema that editors are given."""

import json

from click.testing import CliRunner

from fakes.pages import read
from tailsts.cli.schema import command


def test_the_schema() -> None:
    """It prints the schema that is in the repository, byte for byte, and nothing beside it."""
    done = CliRunner().invoke(command, [], prog_name="tailsts schema")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == read("docs/policy.schema.json")
    assert json.loads(done.stdout)["type"] == "object"


def test_no_arguments() -> None:
    """A word too many is a wrong call."""
    assert CliRunner().invoke(command, ["x"]).exit_code == 2
