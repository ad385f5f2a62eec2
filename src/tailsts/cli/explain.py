"""`tailsts explain`: why a request would be allowed or denied, or why one was."""

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click
import msgspec

from tailsts.cli import past
from tailsts.cli.explaining import NOT_VERIFIED, Told
from tailsts.cli.faults import USAGE, give_up
from tailsts.cli.given import claims_of
from tailsts.cli.judging import Policies, judged_with, load_policies
from tailsts.cli.precedence import preferred
from tailsts.cli.signed import verified_under
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.policy.decide import Wanted
from tailsts.policy.explain import Case, Explanation, explain, usual_algorithm

DENIED, CANNOT_TELL = 1, 3
MAX_INPUT_BYTES = 64 * 1024
DEFAULT_LIFETIME = 300

# A token where the name of a file is wanted: it must not be repeated.
_TOKEN_ITSELF = re.compile(r"eyJ[A-Za-z0-9_-]*\..*", re.DOTALL)


class Asked(msgspec.Struct, frozen=True):
    """What is to be explained, as it was given: a token, or claims and the algorithm to assume."""

    token: UnverifiedToken | None
    claims: Mapping[str, object]
    algorithm: str | None


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
    help="Fetch the issuer's keys and verify the signature as well.",
)
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
    audiences: tuple[str, ...],
    config: Path | None,
    online: bool,
    decision: str | None,
    audit_log: Path | None,
    output_format: Literal["text", "json"],
) -> None:
    """Say for each policy of the token's issuer which check holds and which does not, and what the server would say.

    Offline, that the issuer signed the token is assumed. Exits with 0 if it would be allowed, 1 if it would be denied,
    2 if called wrongly, 3 if the keys to verify it cannot be had; for a past decision with 0 if the log has it.
    """
    if click.get_current_context().args:
        give_up(["there is a word too many; a token is given by --token FILE or --token -"], USAGE)
    if decision is not None:
        if audit_log is None:
            give_up(["--decision needs --audit-log, the file to look in"], USAGE)
        click.echo(past.shown(audit_log, decision, as_json=output_format == "json"))
        return
    wanted = _wanted(scopes, tags, policy)
    asked = _asked(*_chosen(token_file, claims_file), alg, online=online)
    policies = load_policies(policies_dir, audiences, config)
    told = _told(policies, asked, wanted, online=online)
    click.echo(told.as_json() if output_format == "json" else told.as_text())
    if told.unknown:
        raise click.exceptions.Exit(CANNOT_TELL)
    if not told.explanation.allowed:
        raise click.exceptions.Exit(DENIED)


def _wanted(scopes: tuple[str, ...], tags: tuple[str, ...], policy: str | None) -> Wanted:
    wanted = Wanted(_split(scopes), _split(tags), policy)
    if not wanted.scopes:
        give_up(["no scope is asked for: --scope or SCOPES"], USAGE)
    return wanted


def _split(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for text in texts for part in text.replace(",", " ").split()))


def _chosen(token_file: str | None, claims_file: str | None) -> tuple[str | None, str | None]:
    match token_file is not None and claims_file is not None and preferred("token_file", "claims_file"):
        case "token_file":
            return token_file, None
        case "claims_file":
            return None, claims_file
        case _:
            return token_file, claims_file


def _asked(token_file: str | None, claims_file: str | None, alg: str | None, *, online: bool) -> Asked | Rejected:
    if (token_file is None) == (claims_file is None):
        give_up(["give either --token or --claims"], USAGE)
    if claims_file is not None:
        if online:
            give_up(["--online verifies a signature, which --claims has not: give the --token"], USAGE)
        return Asked(None, claims_of(_read(claims_file, "--claims")), alg)
    token = decode(_read(token_file or "-", "--token").decode("ascii", "replace").strip())
    return token if isinstance(token, Rejected) else Asked(token, token.unverified_claims, token.algorithm)


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


def _told(policies: Policies, asked: Asked | Rejected, wanted: Wanted, *, online: bool) -> Told:
    if isinstance(asked, Rejected):
        return Told(Explanation(asked, "", ()))
    case = _case(asked, wanted, policies, time.time())
    if online and asked.token is not None:
        return verified_under(policies, asked.token, case)
    # Claims alone have no signature that could be missed.
    signature = "" if asked.token is None else NOT_VERIFIED
    return Told(explain(policies.generation, case, {}, policies.trusted), signature)


def _case(asked: Asked, wanted: Wanted, policies: Policies, now: float) -> Case:
    claims = asked.claims
    if asked.token is None:
        claims = {"iat": int(now), "exp": int(now) + DEFAULT_LIFETIME, **claims}
    issuer = claims.get("iss")
    trusts = policies.generation.trusts_of(issuer) if isinstance(issuer, str) else ()
    return Case(claims, asked.algorithm or usual_algorithm(trusts), wanted, now)
