"""What commands that judge policies have in common: the folder, and what the server would add to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from tailsts.cli.faults import give_up
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.policy.finding import Page, Severity
from tailsts.policy.model import DEFAULT_TAILNET, Generation
from tailsts.policy.places.sheaf import shown
from tailsts.policy.store import Options, load
from tailsts.policy.trusted import TrustedIssuers
from tailsts.server.configuration import MAX_CONFIGURATION_BYTES, Configuration, read_without_secrets

FAULTY = 1

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Policies(msgspec.Struct, frozen=True):
    """Policies as the server would have them in force, with the allow-list above them."""

    generation: Generation
    trusted: TrustedIssuers | None


def judged_with(command: _Command) -> _Command:
    """Add the options that say what the server adds to its policies."""
    for option in (
        click.option(
            "--config",
            envvar="TAILSTS_CONFIG",
            show_envvar=True,
            type=click.Path(path_type=Path),
            help="The server's configuration file, for its tailnets and trusted issuers. Its secrets are not read.",
        ),
        click.option(
            "--audience",
            "audiences",
            envvar="TAILSTS_AUDIENCE",
            show_envvar=True,
            multiple=True,
            help="The audience that the server is given, for policies that name none. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def server_options(audiences: tuple[str, ...], config: Path | None, *, strict: bool = False) -> Options:
    """Return what the server would add. Ends the program if the configuration cannot be used."""
    if config is None:
        return Options(audiences, strict)
    configuration = _configuration(config)
    # A server that has credentials in its options and its environment has the default tailnet as well.
    tailnets = frozenset({DEFAULT_TAILNET, *configuration.tailnets})
    return Options(audiences, strict, tailnets, configuration.trusted_issuers)


def refuse_file(folder: Path) -> None:
    """End the program if the folder is a file: whoever names one policy means the folder that it is in."""
    if folder.is_file():
        give_up([f"{folder} is a file: give the folder that it is in, {folder.parent}"])


def load_policies(folder: Path, audiences: tuple[str, ...], config: Path | None) -> Policies:
    """Load the policies. Ends the program, with every fault, if they do not load."""
    refuse_file(folder)
    options = server_options(audiences, config)
    loaded = load(folder, options)
    if loaded.generation is None:
        give_up([str(found) for found in loaded.findings if found.severity is Severity.FAULT], FAULTY)
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
