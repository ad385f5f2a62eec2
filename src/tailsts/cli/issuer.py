"""`tailsts issuer`: an OIDC issuer for development."""

import json
import signal
import threading

import click

from tailsts.cli.faults import give_up
from tailsts.oidc.token import ALGORITHMS
from tailsts.standins.issuer import serving


@click.command(name="issuer", short_help="Run an OIDC issuer for development.")
@click.option(
    "--host",
    envvar="TAILSTS_ISSUER_HOST",
    show_envvar=True,
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on.",
)
@click.option(
    "--port",
    envvar="TAILSTS_ISSUER_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    default=8888,
    show_default=True,
    help="The port to listen on; 0: a free one.",
)
@click.option("--issuer", envvar="ISSUER", show_envvar=True, help="The token's iss. [default: http://localhost:PORT]")
@click.option(
    "--subject",
    envvar="SUBJECT",
    show_envvar=True,
    default="test",
    show_default=True,
    help="The token's sub.",
)
@click.option("--kid", envvar="KID", show_envvar=True, help="The key's id. [default: its thumbprint]")
@click.option(
    "--audience",
    "audiences",
    envvar="TAILSTS_ISSUER_AUDIENCE",
    show_envvar=True,
    multiple=True,
    default=("tailsts",),
    show_default=True,
    help="The token's aud. Repeatable.",
)
@click.option(
    "--claim",
    "claims",
    envvar="TAILSTS_ISSUER_CLAIMS",
    show_envvar=True,
    multiple=True,
    metavar="NAME=TEXT|NAME:=JSON",
    help="A further claim: a text, or with := any JSON value. Repeatable.",
)
@click.option(
    "--alg",
    envvar="TAILSTS_ISSUER_ALG",
    show_envvar=True,
    type=click.Choice(sorted(ALGORITHMS)),
    default="RS256",
    show_default=True,
    help="The signature's algorithm.",
)
@click.option(
    "--ttl",
    envvar="TAILSTS_ISSUER_TTL",
    show_envvar=True,
    type=click.IntRange(min=1),
    default=3600,
    show_default=True,
    help="The token's lifetime in seconds.",
)
def command(  # noqa: PLR0913 - one parameter for each option is what click wants
    *,
    host: str,
    port: int,
    issuer: str | None,
    subject: str,
    kid: str | None,
    audiences: tuple[str, ...],
    claims: tuple[str, ...],
    alg: str,
    ttl: int,
) -> None:
    """Run an OIDC issuer for development: discovery and GET /jwks, and one signed token on standard output.

    Its key lives as long as the process. Never trust it in production: whoever can start it can be anybody.
    """
    extra = dict(_claim(text) for text in claims)
    try:
        stop = _stop_signal()
        with serving(host, port, issuer=issuer, algorithm=alg, key_id=kid) as (running, jwks_url):
            click.echo(running.token(subject, audiences=audiences, claims=extra, lifetime=ttl))
            said = f"a token of {running.issuer} is on standard output, its keys at {jwks_url} until Ctrl-C"
            click.echo(f"tailsts: {said}", err=True)
            stop.wait()
        click.echo("tailsts: stopped", err=True)
    except OSError as error:
        give_up([f"cannot listen on {host}, port {port}: {error.strerror}"])


def _stop_signal() -> threading.Event:
    """Return what is set by SIGINT and SIGTERM, also in the background of a script, where shells ignore the former."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _claim(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    if not separator or not name.rstrip(":"):
        raise click.BadParameter(f"{text!r} is not NAME=TEXT or NAME:=JSON", param_hint="--claim")
    if not name.endswith(":"):
        return name, value
    try:
        return name.removesuffix(":"), json.loads(value)
    except (ValueError, RecursionError):
        raise click.BadParameter(f"{value[:100]!r} is not JSON", param_hint="--claim") from None
