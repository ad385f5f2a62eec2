"""What the server is told, as one frozen value, and every fault in it at once. Pure."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Literal

import msgspec

from tailsts.credentials import Secret
from tailsts.oidc.source import refuse_url

DEFAULT_TOKEN_URL = "https://api.tailscale.com/api/v2/oauth/token"  # noqa: S105 - an address

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")


class Settings(msgspec.Struct, frozen=True):
    """Everything that `tailsts serve` can be told. `extra_roots` are PEM texts; `client_id` may be missing ('')."""

    client_id: str
    client_secret: Secret
    token_url: str
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


def faults(settings: Settings) -> Iterator[str]:
    """Yield one line for each thing that keeps the server from starting."""
    if not settings.client_id:
        yield "the OAuth client's id is missing: TS_CLIENT_ID or --ts-client-id"
    if not settings.client_secret.reveal():
        yield "the OAuth client's secret is missing: TS_CLIENT_SECRET_FILE, TS_CLIENT_SECRET or their options"
    # The secret goes there: in the clear only within this machine.
    if reason := refuse_url(settings.token_url, allow_http=False):
        # Not quoted if there may be a password in it.
        shown = "" if "@" in settings.token_url else f" {settings.token_url}"
        yield f"--ts-token-url{shown}: {reason}"
    if any(not audience.strip() for audience in settings.audiences):
        yield "--audience is an empty string"
