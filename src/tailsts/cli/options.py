"""Options that belong together, and what becomes of them: a group is one value for its command."""

import os
import re
from pathlib import Path

import click

from tailsts.cli.grouping import as_one
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.policy.finding import Page
from tailsts.server.configuration import MAX_CONFIGURATION_BYTES
from tailsts.server.settings import DEFAULT_INTERVAL, DEFAULT_REF, GitSettings

CONFIG_VARIABLE = "TAILSTS_CONFIG"
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"([0-9]{1,7})([smhd]?)")


def duration(text: str) -> int:
    """Return the seconds that `text` says: a whole number, alone or with s, m, h or d; at least one second."""
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]] if found else 0
    if not seconds:
        raise click.BadParameter(f"{text!r} is not a duration like 60s, 5m or 1h.")
    return seconds


def _refuse_nothing(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    # Elsewhere an empty variable is as good as none. Here it would be a service without its allow-list of issuers.
    if path is None and os.environ.get(CONFIG_VARIABLE) == "":
        raise click.UsageError(f"{CONFIG_VARIABLE} is set to nothing: name the file, or unset it.")
    return path


config_option = click.option(
    "--config",
    envvar=CONFIG_VARIABLE,
    show_envvar=True,
    type=click.Path(path_type=Path),
    callback=_refuse_nothing,
    help="The configuration file (TOML): credentials of several tailnets, trusted issuers.",
)

_GIT_OPTIONS = (
    click.option(
        "--policies-git",
        envvar="TAILSTS_POLICIES_GIT",
        show_envvar=True,
        metavar="URL",
        help="A git repository of policies, in place of --policies-dir: https, file, or http on this machine.",
    ),
    click.option(
        "--policies-ref",
        envvar="TAILSTS_POLICIES_REF",
        show_envvar=True,
        default=DEFAULT_REF,
        show_default=True,
        help="The branch, tag or commit in it.",
    ),
    click.option(
        "--policies-path",
        envvar="TAILSTS_POLICIES_PATH",
        show_envvar=True,
        default="",
        help="The folder in it that holds the policies. Without it: the uppermost.",
    ),
    click.option(
        "--policies-interval",
        envvar="TAILSTS_POLICIES_INTERVAL",
        show_envvar=True,
        type=duration,
        metavar="DURATION",
        default=f"{DEFAULT_INTERVAL}s",
        show_default=True,
        help="How often to look for a new commit.",
    ),
    click.option(
        "--policies-token-file",
        envvar="TAILSTS_POLICIES_TOKEN_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="A file that holds the token for it, or user:token. Read for each look.",
    ),
    click.option(
        "--cache-dir",
        envvar="TAILSTS_CACHE_DIR",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="A folder that keeps the last good commit through a restart.",
    ),
)


def _git(
    *,
    policies_git: str | None,
    policies_ref: str,
    policies_path: str,
    policies_interval: int,
    policies_token_file: Path | None,
    cache_dir: Path | None,
) -> GitSettings | None:
    """Return what they say: None where there is no repository."""
    if policies_git is None:
        return None
    return GitSettings(policies_git, policies_ref, policies_path, policies_interval, policies_token_file, cache_dir)


git_options = as_one("git", _GIT_OPTIONS, _git)


def read_page(config: Path, lines: list[str]) -> Page | None:
    """Return the text of the configuration file, or None, with the fault added to `lines`."""
    try:
        return Page(str(config), read_bounded(config, MAX_CONFIGURATION_BYTES, refuse_world_writable=True).decode())
    except FileError as error:
        lines.append(f"--config {config} {error}")
    except UnicodeDecodeError:
        lines.append(f"--config {config} is not UTF-8")
    return None
