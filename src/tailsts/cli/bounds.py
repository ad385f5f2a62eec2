"""Options of what the service bounds: requests at a time and from one address, uses of a token, its processes."""

import click
import msgspec

from tailsts.cli.grouping import as_one
from tailsts.credentials import Secret
from tailsts.policy.rate import Rate, RateError, read_rate
from tailsts.server.settings import DEFAULT_IN_FLIGHT, MEMORY, Admission

MAX_WORKERS = 64


class Bounded(msgspec.Struct, frozen=True):
    """What they say."""

    admission: Admission
    state: Secret
    single_use: bool
    workers: int


def rate(text: str) -> Rate:
    """Return the rate that `text` says."""
    try:
        return read_rate(text)
    except RateError as error:
        raise click.BadParameter(f"{text!r} {str(error).removeprefix('it ')}.") from None


_OPTIONS = (
    click.option(
        "--workers",
        envvar="TAILSTS_WORKERS",
        show_envvar=True,
        type=click.IntRange(1, MAX_WORKERS),
        default=1,
        show_default=True,
        help="How many processes serve the port.",
    ),
    click.option(
        "--state",
        envvar="TAILSTS_STATE",
        show_envvar=True,
        default=MEMORY,
        show_default=True,
        metavar="PLACE",
        help="Where used tokens and rates are counted: memory; sqlite:PATH, for several workers; redis:// or "
        "rediss://, for several machines, which needs the extra tailsts[redis]. With a password in it: better the "
        "variable.",
    ),
    click.option(
        "--single-use",
        envvar="TAILSTS_SINGLE_USE",
        show_envvar=True,
        is_flag=True,
        help="A token buys one access token, whatever policies say.",
    ),
    click.option(
        "--max-in-flight",
        envvar="TAILSTS_MAX_IN_FLIGHT",
        show_envvar=True,
        type=click.IntRange(1, 100_000),
        default=DEFAULT_IN_FLIGHT,
        show_default=True,
        help="How many exchanges a worker has in hand at a time; more are answered with 503.",
    ),
    click.option(
        "--peer-rate",
        envvar="TAILSTS_PEER_RATE",
        show_envvar=True,
        type=rate,
        metavar="RATE",
        help="How many requests one address may send to a worker, like 20/second; more are answered with 429. "
        "Without it: any number.",
    ),
    click.option(
        "--trusted-proxies",
        envvar="TAILSTS_TRUSTED_PROXIES",
        show_envvar=True,
        multiple=True,
        metavar="NETWORK",
        help="Proxies whose X-Forwarded-For says who is asking. Repeatable; blanks in the variable.",
    ),
)


def _bounded(
    *,
    workers: int,
    state: str,
    single_use: bool,
    max_in_flight: int,
    peer_rate: Rate | None,
    trusted_proxies: tuple[str, ...],
) -> Bounded:
    return Bounded(Admission(max_in_flight, peer_rate, trusted_proxies), Secret(state), single_use, workers)


bounds_options = as_one("bounded", _OPTIONS, _bounded)
