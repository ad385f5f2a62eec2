"""`tailsts explain`: why a request would be allowed or denied, or why one was."""

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click

from tailsts.cli import past
from tailsts.cli.faults import USAGE, give_up
from tailsts.cli.given import claims_of
from tailsts.cli.judging import Server, judged_with, load_policies, online_ca_file_option, online_roots
from tailsts.cli.precedence import preferred
from tailsts.cli.telling import Asked, of_claims, of_request, of_token, tell
from tailsts.policy.model import Generation

DENIED, CANNOT_TELL = 1, 3
MAX_INPUT_BYTES = 64 * 1024

# A token where the name of a file is wanted: it must not be repeated.
_TOKEN_ITSELF = re.compile(r"eyJ[A-Za-z0-9_-]*\..*", re.DOTALL)


@click.command(
    name="explain",
    short_help="Say why a request is allowed or denied.",
    # Click would repeat a word too many in its message, and that word may well be the token.
    context_settings={"allow_extra_args": True},
)
@click.option(
    "--token",
    "token_file",
    envvar="TAILSTS_EXPLAIN_TOKEN",
    show_envvar=True,
    metavar="FILE|-",
    help="The file that holds the OIDC token; - for standard input.",
)
@click.option(
    "--claims",
    "claims_file",
    envvar="TAILSTS_EXPLAIN_CLAIMS",
    show_envvar=True,
    metavar="FILE|-",
    help="Claims as JSON instead of a token. iat and exp are added if they are missing.",
)
@click.option("--alg", envvar="TAILSTS_EXPLAIN_ALG", show_envvar=True, help="The algorithm to assume with --claims.")
@click.option("--scope", "scopes", envvar="SCOPES", show_envvar=True, multiple=True, help="What is wanted. Repeatable.")
@click.option("--tag", "tags", envvar="TAGS", show_envvar=True, multiple=True, help="A tag that is wanted. Repeatable.")
@click.option("--policy", envvar="TAILSTS_POLICY", show_envvar=True, help="The one policy that is asked for.")
@click.option(
    "--policies-dir",
    envvar="POLICIES_DIR",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default="policies",
    show_default=True,
    help="The folder of the policies.",
)
@judged_with
@click.option(
    "--online",
    envvar="TAILSTS_EXPLAIN_ONLINE",
    show_envvar=True,
    is_flag=True,
    help="Fetch the issuer's keys and verify the signature as well; ask Open Policy Agents.",
)
@online_ca_file_option
@click.option(
    "--decision",
    envvar="TAILSTS_EXPLAIN_DECISION",
    show_envvar=True,
    metavar="ID",
    help="Explain this past decision from the audit log instead.",
)
@click.option(
    "--audit-log",
    envvar="TAILSTS_AUDIT_LOG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="The audit log, for --decision.",
)
@click.option(
    "--format",
    "output_format",
    envvar="TAILSTS_EXPLAIN_FORMAT",
    show_envvar=True,
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON object.",
)
def command(  # noqa: PLR0913 - one parameter for each option is what click wants
    *,
    token_file: str | None,
    claims_file: str | None,
    alg: str | None,
    scopes: tuple[str, ...],
    tags: tuple[str, ...],
    policy: str | None,
    policies_dir: Path,
    server: Server,
    online: bool,
    ca_file: Path | None,
    decision: str | None,
    audit_log: Path | None,
    output_format: Literal["text", "json"],
) -> None:
    """Say for each policy of the token's issuer which check holds and which does not, and what the server would say.

    Offline, that the issuer signed the token is assumed. Exits with 0 if it would be allowed, 1 if it would be denied,
    2 if called wrongly or if the policies do not load, and 3 if it cannot be told: without the keys, where it depends
    on whose keys signed the token, or on what an Open Policy Agent says. For a past decision with 0 if the log has it.
    """
    if click.get_current_context().args:
        give_up(["there is a word too many; a token is given by --token FILE or --token -"], USAGE)
    if decision is not None:
        if audit_log is None:
            give_up(["--decision needs --audit-log, the file to look in"], USAGE)
        click.echo(past.shown(audit_log, decision, as_json=output_format == "json"))
        return
    request = of_request(_scopes(scopes), _split(tags), policy)
    given = _given(*_chosen(token_file, claims_file), online=online)
    policies = load_policies(policies_dir, server, USAGE)
    now = time.time()
    asked = _asked(given, alg, policies.generation, now)
    told = tell(policies, asked, request, now, online_roots(ca_file) if online else None)
    click.echo(told.as_json() if output_format == "json" else told.as_text())
    if told.allowed is None:
        raise click.exceptions.Exit(CANNOT_TELL)
    if not told.allowed:
        raise click.exceptions.Exit(DENIED)


def _scopes(texts: tuple[str, ...]) -> list[str]:
    scopes = _split(texts)
    if not scopes:
        give_up(["no scope is asked for: --scope or SCOPES"], USAGE)
    return scopes


def _split(texts: tuple[str, ...]) -> list[str]:
    return [part for text in texts for part in text.replace(",", " ").split()]


def _chosen(token_file: str | None, claims_file: str | None) -> tuple[str | None, str | None]:
    match token_file is not None and claims_file is not None and preferred("token_file", "claims_file"):
        case "token_file":
            return token_file, None
        case "claims_file":
            return None, claims_file
        case _:
            return token_file, claims_file


def _given(token_file: str | None, claims_file: str | None, *, online: bool) -> str | Mapping[str, object]:
    """Return the text of the token, or the claims."""
    if (token_file is None) == (claims_file is None):
        give_up(["give either --token or --claims"], USAGE)
    if claims_file is None:
        return _read(token_file or "-", "--token").decode("ascii", "replace").strip()
    if online:
        give_up(["--online verifies a signature, which --claims has not: give the --token"], USAGE)
    return claims_of(_read(claims_file, "--claims"))


def _asked(given: str | Mapping[str, object], alg: str | None, generation: Generation, now: float) -> Asked:
    return of_token(given) if isinstance(given, str) else of_claims(given, alg, generation, now)


def _read(file: str, option: str) -> bytes:
    if _TOKEN_ITSELF.fullmatch(file):
        give_up([f"{option} takes the name of a file, or -, and not what is in it"], USAGE)
    try:
        # Not only regular files: shells make a pipe of <(command), which is a good way to hand a token over.
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as opened:
            raw = opened.read(MAX_INPUT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not the name of a file"
        give_up([f"{option} {file} cannot be read: {reason}"], USAGE)
    if len(raw) > MAX_INPUT_BYTES:
        give_up([f"{option} {file} is too large"], USAGE)
    return raw
