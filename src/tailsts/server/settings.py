"""What the server is told, as one frozen value, and every fault in it at once. Pure."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import PurePath, PurePosixPath
from typing import Literal

import msgspec

from tailsts.credentials import Secret
from tailsts.oidc.source import refuse_url
from tailsts.policy.model import DEFAULT_TAILNET
from tailsts.policy.rate import Rate
from tailsts.policy.trusted import TrustedIssuers
from tailsts.server.traces.collector import Traces
from tailsts.server.webhook.cloudevents import Receiver, refuse_source
from tailsts.state.naming import refuse_state

DEFAULT_TOKEN_URL = "https://api.tailscale.com/api/v2/oauth/token"  # noqa: S105 - an address
DEFAULT_REF = "main"
DEFAULT_INTERVAL = 60
# Some 10 KiB each.
DEFAULT_IN_FLIGHT = 1000
MEMORY = "memory"
# A secret, since there may be a password in the address of another one.
IN_MEMORY = Secret(MEMORY)

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


class Admission(msgspec.Struct, frozen=True):
    """Whose requests are looked at: so many at a time, so many from one address; proxies may name another address.

    `trusted_proxies` are networks (CIDR).
    """

    max_in_flight: int = DEFAULT_IN_FLIGHT
    peer_rate: Rate | None = None
    trusted_proxies: tuple[str, ...] = ()


class AuditWebhook(msgspec.Struct, frozen=True):
    """Who gets audit events, and the folder that keeps them until then, of each worker at most so many bytes."""

    receiver: Receiver
    spool: PurePath
    spool_bytes: int


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
    admission: Admission = Admission()
    state: Secret = IN_MEMORY
    single_use: bool = False
    workers: int = 1
    traces: Traces | None = None
    audit_webhook: AuditWebhook | None = None


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
    if settings.audit_webhook is not None:
        yield from _receiver_faults(settings.audit_webhook.receiver)
    for network in settings.admission.trusted_proxies:
        if not _is_network(network):
            yield f"--trusted-proxies: {network!r} is not an address or a network like 10.0.0.0/8"
    if reason := refuse_state(settings.state.reveal()):
        yield f"--state: {reason}"


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


def _receiver_faults(receiver: Receiver) -> Iterator[str]:
    # Who is who and does what is in the events, and a token beside them.
    if reason := refuse_url(receiver.url, allow_http=False):
        yield f"--audit-webhook{_shown(receiver.url)}: {reason}"
    if reason := refuse_source(receiver.source):
        yield f"--audit-webhook-source: {reason}"


def _refuse_git_url(url: str) -> str | None:
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return None if rest.startswith("/") and url.isprintable() else "it is not file:// and an absolute path"
    if scheme not in {"https", "http"}:
        return "its scheme is none of https, file, and http on this machine"
    # Who can change policies on the way can write them.
    return refuse_url(url, allow_http=False)


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _shown(url: str) -> str:
    # Not quoted if there may be a password in it.
    return "" if "@" in url else f" {url}"
