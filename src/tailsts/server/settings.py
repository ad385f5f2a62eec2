"""What the server is told, as one frozen value, and every fault in it at once. Pure."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath, PurePosixPath
from typing import Literal

import msgspec

from tailsts.credentials import Secret
from tailsts.oidc.source import refuse_url
from tailsts.policy.model import DEFAULT_TAILNET
from tailsts.policy.trusted import TrustedIssuers

DEFAULT_TOKEN_URL = "https://api.tailscale.com/api/v2/oauth/token"  # noqa: S105 - an address
DEFAULT_REF = "main"
DEFAULT_INTERVAL = 60

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")


class Tailnet(msgspec.Struct, frozen=True):
    """The OAuth client of one tailnet. Its secret is read anew from `client_secret_file`, if there is one."""

    client_id: str
    client_secret: Secret
    client_secret_file: PurePath | None = None
    token_url: str = DEFAULT_TOKEN_URL


class GitSettings(msgspec.Struct, frozen=True):
    """Where the policies are in git: the folder `path` at `ref`, looked up every `interval` seconds.

    `token_file` holds what the remote asks for; `cache_dir` keeps the last good commit through a restart.
    """

    url: str
    ref: str = DEFAULT_REF
    path: str = ""
    interval: int = DEFAULT_INTERVAL
    token_file: PurePath | None = None
    cache_dir: PurePath | None = None


class Settings(msgspec.Struct, frozen=True):
    """Everything that `tailsts serve` can be told.

    `tailnets` by name; that of the options is `default`, and its id or secret may be missing (''). `extra_roots` are
    PEM texts. With `git`, policies are read from there and not from `policies_dir`.
    """

    tailnets: Mapping[str, Tailnet]
    policies_dir: PurePath
    audiences: tuple[str, ...]
    strict: bool
    host: str
    port: int
    admin_host: str
    admin_port: int | None
    json_logging: bool
    log_level: Level
    audit_log: PurePath | None
    audit_required: bool
    extra_roots: tuple[bytes, ...]
    trusted_issuers: TrustedIssuers | None = None
    watch: bool = True
    git: GitSettings | None = None


def faults(settings: Settings) -> Iterator[str]:
    """Yield one line for each thing that keeps the server from starting.

    Of the tailnets only that of the options is looked at: the others are judged where their file is read. There is
    none at all where that file cannot be.
    """
    if DEFAULT_TAILNET in settings.tailnets:
        yield from _credential_faults(settings.tailnets[DEFAULT_TAILNET])
    if any(not audience.strip() for audience in settings.audiences):
        yield "--audience is an empty string"
    if settings.git is not None:
        yield from _git_faults(settings.git)


def _credential_faults(tailnet: Tailnet) -> Iterator[str]:
    if not tailnet.client_id:
        yield "the OAuth client's id is missing: TS_CLIENT_ID or --ts-client-id"
    if not tailnet.client_secret.reveal():
        yield "the OAuth client's secret is missing: TS_CLIENT_SECRET_FILE, TS_CLIENT_SECRET or their options"
    # The secret goes there: in the clear only within this machine.
    if reason := refuse_url(tailnet.token_url, allow_http=False):
        yield f"--ts-token-url{_shown(tailnet.token_url)}: {reason}"


def _git_faults(git: GitSettings) -> Iterator[str]:
    if reason := _refuse_git_url(git.url):
        yield f"--policies-git{_shown(git.url)}: {reason}"
    if not git.ref or not git.ref.isprintable() or " " in git.ref:
        yield "--policies-ref is not the name of a branch or a tag"
    path = PurePosixPath(git.path)
    if not git.path.isprintable() or path.is_absolute() or ".." in path.parts:
        yield "--policies-path is not a folder within the repository"


def _refuse_git_url(url: str) -> str | None:
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return None if rest.startswith("/") and url.isprintable() else "it is not file:// and an absolute path"
    if scheme not in {"https", "http"}:
        return "its scheme is none of https, file, and http on this machine"
    # Who can change policies on the way can write them.
    return refuse_url(url, allow_http=False)


def _shown(url: str) -> str:
    # Not quoted if there may be a password in it.
    return "" if "@" in url else f" {url}"
