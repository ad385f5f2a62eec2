"""`tailsts token`: the client."""

import json
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Literal

import click

from tailsts.cli.faults import USAGE, give_up, say_fault
from tailsts.cli.precedence import preferred
from tailsts.client import Client, DeniedError, ServerUnavailableError
from tailsts.credentials import Secret
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.source import refuse_url
from tailsts.oidc.token import decode
from tailsts.outbound import is_url

DENIED, UNAVAILABLE = 1, 3
# What the token itself may explain: not believed, or not allowed.
NOT_ALLOWED = (401, 403)
MAX_TOKEN_BYTES = 64 * 1024

Output = Literal["text", "env", "json"]


@click.command(
    name="token",
    short_help="Trade an OIDC token for a Tailscale access token.",
    # Click would repeat a word too many in its message, and that word may well be the token.
    context_settings={"allow_extra_args": True},
)
@click.option(
    "--server",
    envvar="TAILSTS_SERVER",
    show_envvar=True,
    default="http://localhost:8080",
    show_default=True,
    help="The TailSTS server.",
)
@click.option(
    "--token",
    envvar="OIDC_TOKEN",
    show_envvar=True,
    help="The OIDC token; - reads it from standard input. On the command line, others on the machine can see it.",
)
@click.option(
    "--token-file",
    envvar="OIDC_TOKEN_FILE",
    show_envvar=True,
    help="The file that holds the OIDC token; - for standard input.",
)
@click.option(
    "--scope",
    "--scopes",
    "scopes",
    envvar="SCOPES",
    show_envvar=True,
    multiple=True,
    help="The Tailscale scopes that are wanted: repeated, or separated by commas.",
)
@click.option(
    "--tag",
    "--tags",
    "tags",
    envvar="TAGS",
    show_envvar=True,
    multiple=True,
    help="The tags that are wanted, for scopes that carry some: repeated, or separated by commas.",
)
@click.option(
    "--policy", envvar="TAILSTS_POLICY", show_envvar=True, help="The one policy to ask. [default: whichever allows it]"
)
@click.option(
    "--output",
    envvar="TAILSTS_OUTPUT",
    show_envvar=True,
    type=click.Choice(["text", "env", "json"]),
    default="text",
    show_default=True,
    help="The token alone, lines for a shell or $GITHUB_ENV, or a JSON object.",
)
@click.option(
    "--timeout",
    envvar="TAILSTS_TIMEOUT",
    show_envvar=True,
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for all attempts together, while the server is away or asks to wait.",
)
def command(
    *,
    server: str,
    token: str | None,
    token_file: str | None,
    scopes: tuple[str, ...],
    tags: tuple[str, ...],
    policy: str | None,
    output: Output,
    timeout: float,
) -> None:
    """Trade an OIDC token for a Tailscale access token, and print that alone on standard output.

    Exits with 0 and the token, 1 if the server said no, 2 if called wrongly, 3 if the server is unavailable.
    """
    wanted, wanted_tags = _split(scopes), _split(tags)
    faults = [*_server_faults(server), *([] if wanted else ["no scope is asked for: --scope or SCOPES"])]
    if math.isnan(timeout):
        faults.append("--timeout is not a number of seconds")
    if click.get_current_context().args:
        faults.append("there is a word too many; the token is given by --token - or --token-file")
    secret = _token(token, token_file, faults)
    if faults:
        give_up(faults, USAGE)
    try:
        access_token = Client(server, timeout=timeout, say=_say).exchange(secret, wanted, wanted_tags, policy)
    except DeniedError as error:
        say_fault(f"{error.status} {error}")
        if error.status in NOT_ALLOWED:
            _say_why(error, secret, _asked(wanted, wanted_tags, policy))
        raise click.exceptions.Exit(DENIED) from None
    except ServerUnavailableError as error:
        give_up([str(error)], UNAVAILABLE)
    click.echo(_shown(access_token.reveal(), output))


def _split(texts: tuple[str, ...]) -> list[str]:
    return [part for text in texts for part in re.split(r"[,\s]+", text) if part]


def _asked(scopes: list[str], tags: list[str], policy: str | None) -> str:
    words = [*(("--scope", scope) for scope in scopes), *(("--tag", tag) for tag in tags)]
    words += [] if policy is None else [("--policy", policy)]
    return " ".join(f"{option} {shlex.quote(value)}" for option, value in words)


def _say_why(error: DeniedError, token: Secret, asked: str) -> None:
    """Show what the token says, and how to find out what speaks against it. Never the token or its signature."""
    claims = _claims(token)
    if claims is not None:
        _say(f"the token's claims: {claims}")
    if error.decision is not None:
        _say(f"why, on the server: tailsts explain --decision {error.decision} --audit-log FILE")
    _say(f"why, with the policies at hand: tailsts explain --token FILE {asked} --policies-dir DIR")


def _claims(token: Secret) -> str | None:
    decoded = decode(token.reveal())
    if isinstance(decoded, Rejected):
        _say(f"the token cannot be read: {decoded.detail}")
        return None
    return json.dumps(decoded.unverified_claims)


def _token(value: str | None, file: str | None, faults: list[str]) -> Secret:
    value, file = _chosen(value, file, faults)
    try:
        if "-" in (value, file):
            text = sys.stdin.buffer.read(MAX_TOKEN_BYTES + 1).decode("ascii")
        elif file is not None:
            text = _read(file).decode("ascii")
        else:
            text = value or ""
    except OSError as error:
        faults.append(f"--token-file {file} cannot be read: {error.strerror}")
        return Secret("")
    except UnicodeDecodeError:
        faults.append("what was given is not a token: it is not ASCII")
        return Secret("")
    if len(text) > MAX_TOKEN_BYTES:
        faults.append("what was given is not a token: it is too long")
    elif not text.strip():
        faults.append("no OIDC token: OIDC_TOKEN, --token-file, or --token - for standard input")
    elif not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", text.strip()):
        faults.append("what was given is not a token: it holds blanks or other characters that no token has")
    return Secret(text.strip())


def _chosen(value: str | None, file: str | None, faults: list[str]) -> tuple[str | None, str | None]:
    if value is None or file is None:
        return value, file
    match preferred("token", "token_file"):
        case "token":
            return value, None
        case "token_file":
            return None, file
        case _:
            faults.append("both --token and --token-file are given: which one is meant?")
            return value, file


def _read(file: str) -> bytes:
    # Not only regular files: shells make a pipe of <(command), which is a good way to hand a token over.
    with Path(file).open("rb") as opened:
        return opened.read(MAX_TOKEN_BYTES + 1)


def _server_faults(server: str) -> list[str]:
    if "//" not in server:
        # Nor is this quoted.
        return ["--server: http:// or https:// is missing before the host"]
    if reason := refuse_url(server, allow_http=True):
        # Not quoted: there may be a password in it.
        return [f"--server: {reason}"]
    if not is_url(server):
        return ["--server: it is not a URL"]
    if refuse_url(server, allow_http=False):
        _say(f"{server} is plain http: the tokens can be read on the way")
    return []


def _shown(token: str, output: Output) -> str:
    match output:
        case "json":
            return json.dumps({"access_token": token})
        case "env":
            # The first for Terraform and most scripts, the second for Tailscale's own tools.
            quoted = shlex.quote(token)
            return f"TAILSCALE_API_KEY={quoted}\nTS_API_KEY={quoted}"
        case "text":
            return token


def _say(line: str) -> None:
    click.echo(f"tailsts: {line}", err=True)
