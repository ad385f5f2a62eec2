"""`tailsts fixtures`: the claims of a token of each issuer."""

import time

import click
import msgspec

from tailsts.cli.faults import give_up
from tailsts.fixtures import UnknownFixtureError, at, fixture, names


@click.command(name="fixtures", short_help="Show the claims of a token of each issuer.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--as-is",
    envvar="TAILSTS_FIXTURES_AS_IS",
    show_envvar=True,
    is_flag=True,
    help="Leave the times as they are in the fixture. [default: as if the token were made now]",
)
def command(*, name: str | None, as_is: bool) -> None:
    """Show the claims of NAME as JSON, or list what there is.

    They have the shape of real tokens and made-up values: the start of a policy's test.
    """
    if name is None:
        click.echo(_listed())
        return
    try:
        claims = fixture(name).claims
    except UnknownFixtureError as error:
        give_up([f"{error} (`tailsts fixtures` lists all)"])
    shown = claims if as_is else at(claims, int(time.time()))
    click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))


def _listed() -> str:
    found = [fixture(name) for name in names()]
    width = max(len(one.name) for one in found)
    return "\n".join(f"{one.name:{width}}  {one.issuer}: {one.description}" for one in found)
