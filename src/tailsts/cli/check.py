"""`tailsts check`: all that can be said of a folder of policies before any token comes."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec

from tailsts.cli import annotations, sarif
from tailsts.cli.explaining import rendered
from tailsts.cli.judging import (
    FAULTY,
    Server,
    judged_with,
    online_ca_file_option,
    online_roots,
    refuse_file,
    server_options,
)
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.judging.online import judge_online
from tailsts.policy.judging.together import judge_together
from tailsts.policy.model import Generation
from tailsts.policy.places.sheaf import Sheaf, read_folder
from tailsts.policy.store import Options, compile_sheaf

Format = Literal["text", "json", "github", "sarif"]


class Report(msgspec.Struct, frozen=True):
    """What the server would have, or None if it would not start, and everything that was found."""

    generation: Generation | None
    findings: Sequence[Finding]


@click.command(name="check", short_help="Say everything about a folder of policies.")
@click.argument("folder", metavar="[DIR]", envvar="POLICIES_DIR", type=click.Path(path_type=Path), default="policies")
@judged_with
@click.option("--strict", envvar="TAILSTS_STRICT", show_envvar=True, is_flag=True, help="Security warnings are faults.")
@click.option(
    "--online",
    envvar="TAILSTS_CHECK_ONLINE",
    show_envvar=True,
    is_flag=True,
    help="Ask each issuer for its discovery document and its keys, and compare.",
)
@online_ca_file_option
@click.option(
    "--format",
    "output_format",
    envvar="TAILSTS_CHECK_FORMAT",
    show_envvar=True,
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="Lines for people, one JSON object, annotations of GitHub Actions, or SARIF.",
)
def command(
    *,
    folder: Path,
    server: Server,
    strict: bool,
    online: bool,
    ca_file: Path | None,
    output_format: Format,
) -> None:
    """Load the policies in DIR (default: policies) exactly as the server would, and say everything about them.

    Exits with 1 if the server would not start with them; with --online, also if an issuer contradicts a policy or does
    not answer.
    """
    refuse_file(folder)
    roots = online_roots(ca_file) if online else None
    report = _examined(read_folder(folder), server_options(server, strict=strict), roots)
    click.echo(_rendered(report, output_format))
    if any(finding.severity is Severity.FAULT for finding in report.findings):
        raise click.exceptions.Exit(FAULTY)


def _examined(sheaf: Sheaf, options: Options, roots: tuple[bytes, ...] | None) -> Report:
    """Return all that is to be said. With `roots`, certificates to trust, issuers are asked."""
    loaded = compile_sheaf(sheaf, options)
    judged = loaded.generation
    if judged is None and options.strict:
        # What only strictness refuses can be compared all the same.
        judged = compile_sheaf(sheaf, msgspec.structs.replace(options, strict=False)).generation
    findings = list(loaded.findings)
    if judged is not None:
        pages = {file.name: Page(file.shown, file.raw.decode()) for file in sheaf.files}
        judge_together(judged, pages, time.time())
        if roots is not None:
            asyncio.run(judge_online(judged, pages, extra_roots=roots))
        findings += [finding for page in pages.values() for finding in page.findings]
    return Report(loaded.generation, findings)


def _rendered(report: Report, output_format: Format) -> str:
    match output_format:
        case "json":
            return _json(report)
        case "github":
            return "\n".join([*annotations.lines(report.findings), _summary(report)])
        case "sarif":
            return sarif.document(report.findings)
        case "text":
            return "\n".join([*map(str, report.findings), _summary(report)])


def _json(report: Report) -> str:
    generation = report.generation
    value = {
        "ok": not any(finding.severity is Severity.FAULT for finding in report.findings),
        "policies": 0 if generation is None else len(generation.policies),
        "generation": None if generation is None else generation.digest,
        "findings": report.findings,
    }
    return rendered(msgspec.to_builtins(value))


def _summary(report: Report) -> str:
    count = Counter(finding.severity for finding in report.findings)
    found = ", ".join(f"{count[severity]} {severity}" for severity in Severity)
    return f"{_loads(report)}; findings: {found}"


def _loads(report: Report) -> str:
    if report.generation is None:
        return "would not load"
    number = len(report.generation.policies)
    return "1 policy loads" if number == 1 else f"{number} policies load"
