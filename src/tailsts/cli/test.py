"""`tailsts test`: the tests of a folder's policies."""

import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec

from tailsts.cli import explaining, junit
from tailsts.cli.judging import Server, judged_with, load_policies
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.policy.finding import Finding, Page
from tailsts.policy.model import Generation
from tailsts.policy.places.sheaf import MAX_NAMED_FILE_BYTES, TEST_ENDING, shown
from tailsts.policy.trial import Outcome, Trial, read_trials, run, untested

FAILED = 1
MAX_TEST_BYTES = 1024 * 1024


class Report(msgspec.Struct, frozen=True):
    """What came of all tests, and which policies they leave out."""

    outcomes: Sequence[Outcome]
    never_allowed: Sequence[str]
    never_denied: Sequence[str]

    @property
    def failed(self) -> int:
        """The number of tests that failed."""
        return sum(bool(outcome.fault) for outcome in self.outcomes)


@click.command(name="test", short_help="Run the tests of a folder of policies.")
@click.argument("folder", metavar="[DIR]", envvar="POLICIES_DIR", type=click.Path(path_type=Path), default="policies")
@judged_with
@click.option(
    "--complete",
    envvar="TAILSTS_TEST_COMPLETE",
    show_envvar=True,
    is_flag=True,
    help="Fail as well if a policy has no test that it allows, or none that it denies.",
)
@click.option(
    "--format",
    "output_format",
    envvar="TAILSTS_TEST_FORMAT",
    show_envvar=True,
    type=click.Choice(["text", "junit"]),
    default="text",
    show_default=True,
    help="Lines for people, or JUnit XML for CI.",
)
def command(
    *,
    folder: Path,
    server: Server,
    complete: bool,
    output_format: Literal["text", "junit"],
) -> None:
    """Run the tests in DIR (default: policies), the files *.test.toml beside the policies.

    Each goes through the evaluator of the server. Exits with 1 if one fails, if there is none, or if the policies or
    the tests do not load.
    """
    policies = load_policies(folder, server)
    trials, findings = _read_all(folder)
    for finding in findings:
        click.echo(str(finding), err=True)
    if findings:
        raise click.exceptions.Exit(FAILED)
    now = time.time()
    outcomes = [run(trial, policies.generation, now, policies.trusted) for trial in trials]
    report = Report(outcomes, *untested(policies.generation, outcomes))
    if output_format == "junit":
        click.echo(junit.document(report.outcomes))
        # It has no place for these, and they may be why it fails.
        click.echo("\n".join(_about_all(report, policies.generation)), err=True)
    else:
        click.echo("\n".join([*_about_each(report), *_about_all(report, policies.generation)]))
    gaps = complete and (report.never_allowed or report.never_denied)
    if report.failed or gaps or not trials:
        raise click.exceptions.Exit(FAILED)


def _read_all(folder: Path) -> tuple[list[Trial], list[Finding]]:
    trials: list[Trial] = []
    findings: list[Finding] = []
    # As with policies, what is hidden belongs to an editor.
    for path in sorted(path for path in folder.glob(f"*{TEST_ENDING}") if not path.name.startswith(".")):
        page = Page(shown(str(path)), "")
        try:
            page.text = read_bounded(path, MAX_TEST_BYTES).decode("utf-8")
        except FileError as error:
            page.fault("file", "", str(error))
        except UnicodeDecodeError:
            page.fault("file", "", "is not UTF-8")
        else:
            trials += read_trials(page, lambda name: _claims_file(folder, name))
        findings += page.findings
    return trials, findings


def _claims_file(folder: Path, name: str) -> bytes:
    path = (folder / name).resolve()
    # Claims are shown where a test fails: one in a pull request must not show what else is on the machine.
    if not path.is_relative_to(folder.resolve()):
        raise FileError("is not in the folder of the policies")
    return read_bounded(path, MAX_NAMED_FILE_BYTES)


def _about_each(report: Report) -> list[str]:
    names = Counter(name for name, _ in {(each.trial.name, each.trial.file) for each in report.outcomes})
    return [line for outcome in report.outcomes for line in _outcome(outcome, shared=names[outcome.trial.name] > 1)]


def _about_all(report: Report, generation: Generation) -> list[str]:
    lines = []
    for names, said in (
        (report.never_allowed, "no test that it allows"),
        (report.never_denied, "no test that it denies"),
    ):
        lines += [f"policy {explaining.printable(name)}: {said}" for name in names]
    passed = len(report.outcomes) - report.failed
    lines.append(f"{passed} passed, {report.failed} failed; policies: {len(generation.policies)}")
    if not report.outcomes:
        lines.append(f"there is no test: write one into NAME{TEST_ENDING} beside the policies")
    return lines


def _outcome(outcome: Outcome, *, shared: bool) -> list[str]:
    trial = outcome.trial
    place = trial.file if trial.line is None else f"{trial.file}:{trial.line}"
    name = explaining.printable(trial.name)
    if not outcome.fault:
        return [f"ok   {name} ({trial.file})" if shared else f"ok   {name}"]
    why = textwrap.indent(explaining.text(outcome.explanation), "       ")
    return [f"FAIL {name} ({place})", f"     {explaining.printable(outcome.fault)}", why]
