"""How a command says what is wrong: one line for each fault, on standard error."""

from collections.abc import Iterable
from typing import Never

import click

USAGE = 2


def give_up(faults: Iterable[str], code: int = USAGE) -> Never:
    """Say each fault in a line of its own, and exit with `code`."""
    for fault in faults:
        say_fault(fault)
    raise click.exceptions.Exit(code)


def say_fault(fault: str) -> None:
    """Say a fault in a line of its own, on standard error."""
    # What is quoted in it may have been made by somebody else: one line, and nothing that steers a terminal.
    click.echo(f"tailsts: error: {fault if fault.isprintable() else ascii(fault)[1:-1]}", err=True)
