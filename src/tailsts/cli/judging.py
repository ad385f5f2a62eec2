"""What commands that judge policies have in common: the folder, and what the server would add to it."""

from pathlib import Path

import click
import msgspec

from tailsts.cli.faults import give_up
from tailsts.cli.grouping import as_one
from tailsts.cli.options import config_option
from tailsts.cli.roots import ca_file_option, extra_roots
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.policy.finding import Page, Severity
from tailsts.policy.model import DEFAULT_TAILNET, Generation
from tailsts.policy.places.sheaf import shown
from tailsts.policy.store import Options, load
from tailsts.policy.trusted import TrustedIssuers
from tailsts.server.configuration import MAX_CONFIGURATION_BYTES, Configuration, read_without_secrets

FAULTY = 1


class Policies(msgspec.Struct, frozen=True):
    """Policies as the server would have them in force, with the allow-list above them."""

    generation: Generation
    trusted: TrustedIssuers | None


class Server(msgspec.Struct, frozen=True):
    """What the server is told that counts for its policies, as far as a command that judges them is told it."""

    audiences: tuple[str, ...]
    config: Path | None
    client_id: str
    single_use: bool


_SERVER_OPTIONS = (
    click.option(
        "--audience",
        "audiences",
        envvar="TAILSTS_AUDIENCE",
        show_envvar=True,
        multiple=True,
        help="The audience that the server is given, for policies that name none. Repeatable.",
    ),
    config_option,
    click.option(
        "--ts-client-id",
        envvar="TS_CLIENT_ID",
        show_envvar=True,
        default="",
        help="The OAuth client's id that the server is given: with it there is the tailnet default beside those of "
        "--config.",
    ),
    click.option(
        "--single-use",
        envvar="TAILSTS_SINGLE_USE",
        show_envvar=True,
        is_flag=True,
        help="The server is given it, too.",
    ),
)


def _server(*, audiences: tuple[str, ...], config: Path | None, ts_client_id: str, single_use: bool) -> Server:
    return Server(audiences, config, ts_client_id, single_use)


judged_with = as_one("server", _SERVER_OPTIONS, _server)

# As `tailsts serve` has it.
online_ca_file_option = ca_file_option(
    "For --online: certificates (PEM) to trust in addition, as the server is given them."
)


def online_roots(file: Path | None) -> tuple[bytes, ...]:
    """Return what the option holds. Ends the program if that is no certificate."""
    lines: list[str] = []
    roots = extra_roots(file, lines)
    if lines:
        give_up(lines)
    return roots


def server_options(server: Server, *, strict: bool = False) -> Options:
    """Return what the server would add. Ends the program if the configuration cannot be used."""
    if server.config is None:
        return Options(server.audiences, strict, single_use=server.single_use)
    configuration = _configuration(server.config)
    tailnets = set(configuration.tailnets)
    if server.client_id or not tailnets:
        tailnets.add(DEFAULT_TAILNET)
    trusted = configuration.trusted_issuers
    return Options(server.audiences, strict, frozenset(tailnets), trusted, server.single_use)


def refuse_file(folder: Path) -> None:
    """End the program if the folder is a file: whoever names one policy means the folder that it is in."""
    if folder.is_file():
        give_up([f"{folder} is a file: give the folder that it is in, {folder.parent}"])


def load_policies(folder: Path, server: Server, code: int = FAULTY) -> Policies:
    """Load the policies. Ends the program with `code`, and every fault, if they do not load."""
    refuse_file(folder)
    options = server_options(server)
    loaded = load(folder, options)
    if loaded.generation is None:
        give_up([str(found) for found in loaded.findings if found.severity is Severity.FAULT], code)
    return Policies(loaded.generation, options.trusted)


def _configuration(path: Path) -> Configuration:
    page = Page(shown(str(path)), "")
    try:
        page.text = read_bounded(path, MAX_CONFIGURATION_BYTES, refuse_world_writable=True).decode("utf-8")
    except FileError as error:
        give_up([f"--config {path} {error}"])
    except UnicodeDecodeError:
        give_up([f"--config {path} is not UTF-8"])
    configuration = read_without_secrets(page)
    if configuration is None:
        give_up(str(finding) for finding in page.findings)
    return configuration
