"""How a command says what is wrong: one line for each fault, on standard error."""

from collections.abc import Iterable
from typing import Never

import click

USAGE = 2


def give_up(faults: Iterable[str], code: int = USAGE) -> Never:
    """Say each fault in a line of its own, and exit with `code`."""
    for fault in faults:
        click.echo(f"tailsts: error: {fault}", err=True)
    raise click.exceptions.Exit(code)
