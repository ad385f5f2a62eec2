"""`tailsts audit`: reads an audit log."""

import datetime as dt
import sys
from collections.abc import Iterator
from typing import IO, Literal

import click

from tailsts.auditing.entries import MAX_LINE_BYTES, Kind, Logged, Unread, read_line
from tailsts.auditing.reasons import REASONS, advice
from tailsts.auditing.rendering import entry_line, summary_lines, summary_value
from tailsts.auditing.selection import MomentError, Selection, logged_moment
from tailsts.auditing.summary import Summary
from tailsts.cli.explaining import rendered
from tailsts.cli.faults import USAGE, give_up, say_fault
from tailsts.cli.logfile import bounded_lines, opened
from tailsts.errors import FileError

BROKEN = 1
DEFAULT_TOP = 10


class Reading:
    """The entries of some files that are asked for, in their order.

    Counts all that there are, and what could not be read, and remembers where that began. `no_reasons` are those that
    are asked for, but that neither this version nor any entry knows.
    """

    def __init__(self, files: tuple[str, ...], selection: Selection) -> None:
        self._files = files
        self._selection = selection
        self.no_reasons = set(selection.reasons - REASONS)
        self.matching = self.decisions = self.broken = self.other = 0
        self.first_broken = ""
        self.unfinished = ""
        self.faults: list[str] = []

    def entries(self) -> Iterator[Logged]:
        """Yield them. A file that cannot be read further is left, with its fault noted."""
        for name in self._files:
            try:
                with opened(name) as file:
                    yield from self._of(name, file)
            except FileError as error:
                self.faults.append(f"{name} {error}")

    def _of(self, name: str, file: IO[bytes]) -> Iterator[Logged]:
        for number, line in enumerate(bounded_lines(file, MAX_LINE_BYTES), 1):
            found = read_line(line)
            if isinstance(found, Logged):
                self.decisions += 1
                # A later version may have others.
                self.no_reasons.discard(found.entry.reason)
                if self._selection.has(found.entry):
                    self.matching += 1
                    yield found
            elif found is Unread.OTHER:
                self.other += 1
            elif not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                # The service may be about to write the rest.
                self.unfinished = name
            else:
                self.broken += 1
                self.first_broken = self.first_broken or f"line {number} of {name}"


@click.command(name="audit", short_help="Show, filter and sum up an audit log.")
@click.argument("files", metavar="FILE...", envvar="TAILSTS_AUDIT_LOG", nargs=-1, type=click.Path())
@click.option(
    "--granted", envvar="TAILSTS_AUDIT_GRANTED", show_envvar=True, is_flag=True, help="Those that got a token."
)
@click.option(
    "--denied", envvar="TAILSTS_AUDIT_DENIED", show_envvar=True, is_flag=True, help="Those that were told no."
)
@click.option(
    "--failed",
    envvar="TAILSTS_AUDIT_FAILED",
    show_envvar=True,
    is_flag=True,
    help="Those that nobody could decide or finish: unavailable, fault, aborted.",
)
@click.option(
    "--policy",
    "policies",
    envvar="TAILSTS_AUDIT_POLICY",
    show_envvar=True,
    multiple=True,
    help="Those that this policy granted, or came nearest to granting. Repeatable, as are the next three.",
)
@click.option(
    "--subject",
    "subjects",
    envvar="TAILSTS_AUDIT_SUBJECT",
    show_envvar=True,
    multiple=True,
    help="Those of this subject; with * at its end, of all that begin so.",
)
@click.option(
    "--issuer", "issuers", envvar="TAILSTS_AUDIT_ISSUER", show_envvar=True, multiple=True, help="Those of this issuer."
)
@click.option(
    "--reason", "reasons", envvar="TAILSTS_AUDIT_REASON", show_envvar=True, multiple=True, help="Those of this reason."
)
@click.option(
    "--since",
    envvar="TAILSTS_AUDIT_SINCE",
    show_envvar=True,
    metavar="WHEN",
    help="From then on: 2026-11-24T18:00:00Z, 2026-11-24 (UTC), or 30m, 2h, 7d for so long ago.",
)
@click.option(
    "--until", envvar="TAILSTS_AUDIT_UNTIL", show_envvar=True, metavar="WHEN", help="Until then, and no more then."
)
@click.option(
    "--summary",
    envvar="TAILSTS_AUDIT_SUMMARY",
    show_envvar=True,
    is_flag=True,
    help="Totals by policy, outcome and reason, by issuer, and by subject, instead of the decisions.",
)
@click.option(
    "--top",
    envvar="TAILSTS_AUDIT_TOP",
    show_envvar=True,
    type=click.IntRange(min=1),
    default=DEFAULT_TOP,
    show_default=True,
    help="How many issuers and subjects --summary shows.",
)
@click.option(
    "--format",
    "output_format",
    envvar="TAILSTS_AUDIT_FORMAT",
    show_envvar=True,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or JSON: the events as they are logged, one a line, or one object with --summary.",
)
def command(  # noqa: PLR0913 - one parameter for each option is what click wants
    *,
    files: tuple[str, ...],
    granted: bool,
    denied: bool,
    failed: bool,
    policies: tuple[str, ...],
    subjects: tuple[str, ...],
    issuers: tuple[str, ...],
    reasons: tuple[str, ...],
    since: str | None,
    until: str | None,
    summary: bool,
    top: int,
    output_format: Literal["text", "json"],
) -> None:
    """Show the decisions in the audit log FILE, one a line, in the order of the log: the newest last.

    Several files are read one after the other; - is standard input; what gzip has compressed is read as it is. It may
    be the service's log, of either kind, too. Exits with 0 (also if none is found: that is said), 1 if a line cannot
    be read, 2 if called wrongly, or if a file cannot be read.
    """
    if not files:
        give_up(["no file: give the audit log, or - for standard input"])
    chosen = ((Kind.GRANTED, granted), (Kind.DENIED, denied), (Kind.FAILED, failed))
    first, last = _moments(since, until)
    selection = Selection(
        kinds=frozenset(kind for kind, is_wanted in chosen if is_wanted),
        policies=frozenset(policies),
        issuers=frozenset(issuers),
        reasons=frozenset(reasons),
        subjects=subjects,
        since=first,
        until=last,
    )
    reading = Reading(files, selection)
    if summary:
        _sum_up(reading, top, as_json=output_format == "json")
    else:
        _show(reading, as_json=output_format == "json")
    _end(reading)


def _moments(since: str | None, until: str | None) -> tuple[str, str]:
    now = dt.datetime.now(dt.UTC)
    found, faults = {"--since": "", "--until": ""}, []
    for option, text in (("--since", since), ("--until", until)):
        try:
            found[option] = "" if text is None else logged_moment(text, now)
        except MomentError as error:
            faults.append(f"{option} {error}")
    if not faults and found["--until"] and found["--since"] >= found["--until"]:
        faults.append("--since is not before --until")
    if faults:
        give_up(faults)
    return found["--since"], found["--until"]


def _show(reading: Reading, *, as_json: bool) -> None:
    # Not click.echo: it flushes each line, and there may be millions.
    write = sys.stdout.write
    for logged in reading.entries():
        write((logged.json.decode("ascii") if as_json else entry_line(logged.entry)) + "\n")
    sys.stdout.flush()


def _sum_up(reading: Reading, top: int, *, as_json: bool) -> None:
    summary = Summary()
    for logged in reading.entries():
        summary.add(logged.entry)
    if as_json:
        click.echo(rendered({**summary_value(summary, top), "broken_lines": reading.broken}))
    else:
        click.echo("\n".join(summary_lines(summary, top)))


def _end(reading: Reading) -> None:
    if reading.other:
        click.echo(f"tailsts: lines about something else: {reading.other}", err=True)
    if reading.unfinished:
        say_fault(f"the last line of {reading.unfinished} is not whole; perhaps it is being written")
    if reading.broken:
        say_fault(f"lines that cannot be read: {reading.broken}; the first is {reading.first_broken}")
    if not reading.matching:
        click.echo(f"tailsts: 0 of {reading.decisions} decisions match", err=True)
    faults = [f'--reason "{reason}" does not exist; {advice(reason)}' for reason in sorted(reading.no_reasons)]
    if faults := reading.faults + faults:
        give_up(faults, USAGE)
    if reading.broken:
        raise click.exceptions.Exit(BROKEN)
