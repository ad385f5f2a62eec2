"""`tailsts probe`: exchanges that must pass and exchanges that must fail, at a live server."""

import itertools
import json
import math
import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import click
import msgspec

from tailsts.cli import probed
from tailsts.cli.explaining import rendered
from tailsts.cli.faults import USAGE, give_up, say_fault
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.oidc.source import refuse_url
from tailsts.outbound import is_url
from tailsts.policy.finding import Page
from tailsts.policy.places.sheaf import shown
from tailsts.policy.tomlvalue import seconds
from tailsts.probing.asking import Server
from tailsts.probing.exposition import exposition
from tailsts.probing.judge import Round
from tailsts.probing.plan import Plan, read_plan, refuse_server
from tailsts.probing.rounds import Prober
from tailsts.probing.shelf import MetricsPort, write_whole

FAILED, UNREACHABLE = 1, 3
MAX_PLAN_BYTES = 1024 * 1024
MAX_SECONDS = 20.0
MAX_EVERY = 24 * 3600

Format = Literal["text", "json", "junit"]


class Shown(msgspec.Struct, frozen=True):
    """Where the outcome of a round goes: standard output, and a file and a port for metrics if there are any."""

    file: Path
    output_format: Format
    metrics_file: Path | None
    port: MetricsPort | None = None
    repeated: bool = False

    def show(self, done: Round) -> bool:
        """Show it. Return whether it could be written everywhere."""
        match self.output_format:
            case "text":
                click.echo("\n".join(probed.lines(done)))
            case "json":
                # Of many, each is a line, which a reader can tell from the next.
                value = probed.value(done)
                click.echo(json.dumps(value).replace("\x7f", "\\u007f") if self.repeated else rendered(value))
            case "junit":
                click.echo(probed.junit(done, str(self.file)))
        metrics = exposition(done)
        if self.port is not None:
            self.port.put(metrics)
        try:
            if self.metrics_file is not None:
                write_whole(self.metrics_file, metrics)
        except OSError as error:
            say_fault(f"--metrics-file {self.metrics_file} cannot be written: {error.strerror}")
            return False
        return True


@click.command(name="probe", short_help="Try exchanges that must pass, and some that must fail.")
@click.argument("file", metavar="FILE", envvar="TAILSTS_PROBE_FILE", type=click.Path(path_type=Path))
@click.option(
    "--server",
    envvar="TAILSTS_PROBE_SERVER",
    show_envvar=True,
    help="The server to probe, in place of the one that the file names.",
)
@click.option(
    "--timeout",
    envvar="TAILSTS_PROBE_TIMEOUT",
    show_envvar=True,
    type=click.FloatRange(min=0, min_open=True, max=MAX_SECONDS),
    default=MAX_SECONDS,
    show_default=True,
    help="Seconds for each exchange. None is tried twice.",
)
@click.option(
    "--every",
    envvar="TAILSTS_PROBE_EVERY",
    show_envvar=True,
    metavar="DURATION",
    help="Go on, and probe this often, like 60s or 5m, until SIGTERM or Ctrl-C.",
)
@click.option(
    "--metrics-file",
    envvar="TAILSTS_PROBE_METRICS_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Write metrics to this file after each round, for the node exporter's textfile collector: NAME.prom.",
)
@click.option(
    "--metrics-host",
    envvar="TAILSTS_PROBE_METRICS_HOST",
    show_envvar=True,
    default="127.0.0.1",
    show_default=True,
    help="The address for --metrics-port.",
)
@click.option(
    "--metrics-port",
    envvar="TAILSTS_PROBE_METRICS_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="Serve metrics to Prometheus on this port, with --every.",
)
@click.option(
    "--format",
    "output_format",
    envvar="TAILSTS_PROBE_FORMAT",
    show_envvar=True,
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
    help="Lines for people, a JSON object for each round, or (once) JUnit XML.",
)
def command(
    *,
    file: Path,
    server: str | None,
    timeout: float,
    every: str | None,
    metrics_file: Path | None,
    metrics_host: str,
    metrics_port: int | None,
    output_format: Format,
) -> None:
    """Run the probes in FILE: exchanges, each with what must come of it, "allow" or "deny" and why.

    Tokens that are handed out are dropped at once. Exits with 0 if all came out as expected, 1 if one did not, 2 if
    called wrongly, 3 if the server could not be reached and nothing else is amiss. With --every, exits with 0 when it
    is told to stop.
    """
    interval = _interval(every)
    if math.isnan(timeout):
        give_up(["--timeout is not a number of seconds"])
    if interval is None and metrics_port is not None:
        give_up(["--metrics-port needs --every"])
    if interval is not None and output_format == "junit":
        give_up(["--format junit is of one round, and --every runs many"])
    plan = _plan(file)
    url = _server(server, plan)
    prober = Prober(plan.probes, lambda: Server(url, timeout), os.environ, time.monotonic, time.time)
    shown_at = Shown(file, output_format, metrics_file, repeated=interval is not None)
    if interval is None:
        _once(prober, shown_at)
        return
    stop = _stop_signal()
    with ExitStack() as stack:
        if metrics_port is not None:
            port = stack.enter_context(_listening(metrics_host, metrics_port))
            shown_at = msgspec.structs.replace(shown_at, port=port)
        _repeat(prober, shown_at, stop, interval)


def _once(prober: Prober, shown_at: Shown) -> None:
    done = Round(list(prober.results()), time.time())
    written = shown_at.show(done)
    if done.failed:
        raise click.exceptions.Exit(UNREACHABLE if done.unreachable else FAILED)
    if not written:
        raise click.exceptions.Exit(USAGE)


def _stop_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _repeat(prober: Prober, shown_at: Shown, stop: threading.Event, interval: float) -> None:
    while not stop.is_set():
        begun = time.monotonic()
        results = list(itertools.takewhile(lambda _result: not stop.is_set(), prober.results()))
        if stop.is_set():
            # Half a round says nothing of the other half.
            return
        shown_at.show(Round(results, time.time()))
        stop.wait(max(0.0, begun + interval - time.monotonic()))


def _listening(host: str, port: int) -> MetricsPort:
    try:
        found = MetricsPort(host, port)
    except OSError as error:
        give_up([f"cannot listen on {host}, port {port}: {error.strerror}"])
    click.echo(f"tailsts: metrics are at http://{host}:{found.port}/metrics", err=True)
    return found


def _interval(every: str | None) -> int | None:
    if every is None:
        return None
    found = seconds(every.strip())
    if found is None or found > MAX_EVERY:
        give_up(["--every is not a duration of up to a day, like 60s or 5m"])
    return found


def _plan(file: Path) -> Plan:
    page = Page(shown(str(file)), "")
    try:
        # Whoever can change it can have tokens sent to a server of theirs.
        page.text = read_bounded(file, MAX_PLAN_BYTES, refuse_world_writable=True).decode("utf-8")
    except FileError as error:
        give_up([f"{file} {error}"])
    except UnicodeDecodeError:
        give_up([f"{file} is not UTF-8"])
    plan = read_plan(page)
    if plan is None:
        give_up([str(finding) for finding in page.findings])
    return plan


def _server(option: str | None, plan: Plan) -> str:
    url = option or plan.server
    if not url:
        give_up(["no server: --server, or server in the file"])
    if reason := refuse_server(url):
        # Not quoted: there may be a password in it.
        give_up([f"--server: {reason}"])
    if not is_url(url):
        give_up(["the server's address is no URL"])
    if refuse_url(url, allow_http=False):
        click.echo(f"tailsts: {url} is plain http: the tokens can be read on the way", err=True)
    return url
