"""`tailsts check`: what the server would say of a folder of policies."""

from collections import Counter
from pathlib import Path
from typing import Literal

import click
import msgspec

from tailsts.policy.finding import Severity
from tailsts.policy.store import Loaded, Options, load

FAULTY = 1


@click.command(name="check", short_help="Say everything about a folder of policies.")
@click.argument("folder", metavar="[DIR]", envvar="POLICIES_DIR", type=click.Path(path_type=Path), default="policies")
@click.option(
    "--audience",
    "audiences",
    envvar="TAILSTS_AUDIENCE",
    show_envvar=True,
    multiple=True,
    help="The audience that the server is given, for policies that name none. Repeatable.",
)
@click.option("--strict", envvar="TAILSTS_STRICT", show_envvar=True, is_flag=True, help="Security warnings are faults.")
@click.option(
    "--format",
    "output_format",
    envvar="TAILSTS_CHECK_FORMAT",
    show_envvar=True,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON object.",
)
def command(*, folder: Path, audiences: tuple[str, ...], strict: bool, output_format: Literal["text", "json"]) -> None:
    """Load the policies in DIR (default: policies) exactly as the server would, and say everything about them.

    Exits with 1 if the server would not start with them.
    """
    loaded = load(folder, Options(audiences, strict))
    click.echo(_json(loaded) if output_format == "json" else _text(loaded))
    if loaded.generation is None:
        raise click.exceptions.Exit(FAULTY)


def _json(loaded: Loaded) -> str:
    generation = loaded.generation
    value = {
        "ok": generation is not None,
        "policies": 0 if generation is None else len(generation.policies),
        "generation": None if generation is None else generation.digest,
        "findings": loaded.findings,
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _text(loaded: Loaded) -> str:
    lines = [str(finding) for finding in loaded.findings]
    count = Counter(finding.severity for finding in loaded.findings)
    summary = ", ".join(f"{count[severity]} {severity}" for severity in Severity)
    return "\n".join([*lines, f"{_loads(loaded)}; findings: {summary}"])


def _loads(loaded: Loaded) -> str:
    if loaded.generation is None:
        return "would not load"
    number = len(loaded.generation.policies)
    return "1 policy loads" if number == 1 else f"{number} policies load"
