"""`tailsts schema`: the JSON Schema of a policy, for editors."""

import click
import msgspec

from tailsts.policy.document import schema


@click.command(name="schema", short_help="Show the JSON Schema of a policy.")
def command() -> None:
    """Show the JSON Schema of a policy's file, for editors.

    Put it beside the policies as policy.schema.json: policies that begin with `#:schema ./policy.schema.json` are then
    checked and completed as they are written.
    """
    click.echo(msgspec.json.format(msgspec.json.encode(schema()), indent=2))
