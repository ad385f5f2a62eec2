"""Which of two options counts that say the same thing in different ways."""

import click
from click.core import ParameterSource


def preferred(first: str, second: str) -> str | None:
    """Return the name of the one on the command line if the other is from the environment, else None."""
    context = click.get_current_context()
    told = [name for name in (first, second) if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    return told[0] if len(told) == 1 else None
