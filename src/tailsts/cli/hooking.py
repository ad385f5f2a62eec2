"""Options of the audit webhook, and what becomes of them."""

from pathlib import Path

import click
import msgspec

from tailsts.cli.grouping import as_one
from tailsts.errors import FileError
from tailsts.server.settings import AuditWebhook
from tailsts.server.webhook.cloudevents import DEFAULT_SOURCE, Receiver
from tailsts.tailscale.secret_file import read_secret

MEBIBYTE = 1024 * 1024


class Hooked(msgspec.Struct, frozen=True):
    """What they say."""

    url: str | None
    spool: Path | None
    mebibytes: int
    token_file: Path | None
    source: str


_OPTIONS = (
    click.option(
        "--audit-webhook",
        envvar="TAILSTS_AUDIT_WEBHOOK",
        show_envvar=True,
        metavar="URL",
        help="Send each audit event there as well, as a CloudEvent. https, or loopback.",
    ),
    click.option(
        "--audit-webhook-token-file",
        envvar="TAILSTS_AUDIT_WEBHOOK_TOKEN_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="A file that holds the bearer token for it. Read anew within 5 seconds of a change.",
    ),
    click.option(
        "--audit-webhook-source",
        envvar="TAILSTS_AUDIT_WEBHOOK_SOURCE",
        show_envvar=True,
        default=DEFAULT_SOURCE,
        show_default=True,
        metavar="URI",
        help="The source of the events: what this service is called there.",
    ),
    click.option(
        "--audit-spool",
        envvar="TAILSTS_AUDIT_SPOOL",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="The folder that keeps events until the webhook has taken them. Required with --audit-webhook.",
    ),
    click.option(
        "--audit-spool-size",
        envvar="TAILSTS_AUDIT_SPOOL_SIZE",
        show_envvar=True,
        type=click.IntRange(1, MEBIBYTE),
        default=64,
        show_default=True,
        metavar="MIB",
        help="How many MiB each worker may keep there.",
    ),
)


def _hooked(
    *,
    audit_webhook: str | None,
    audit_spool: Path | None,
    audit_spool_size: int,
    audit_webhook_token_file: Path | None,
    audit_webhook_source: str,
) -> Hooked:
    return Hooked(audit_webhook, audit_spool, audit_spool_size, audit_webhook_token_file, audit_webhook_source)


hook_options = as_one("hooked", _OPTIONS, _hooked)


def audit_webhook(hooked: Hooked, lines: list[str]) -> AuditWebhook | None:
    """Return the webhook, if there is to be one; append a line for each fault."""
    if hooked.url is None:
        if hooked.spool is not None or hooked.token_file is not None:
            lines.append("--audit-spool and --audit-webhook-token-file need --audit-webhook")
        return None
    token = None
    if hooked.token_file is not None:
        try:
            token = read_secret(hooked.token_file)
        except FileError as error:
            lines.append(f"--audit-webhook-token-file {hooked.token_file} {error}")
    if hooked.spool is None:
        lines.append("--audit-webhook needs --audit-spool: a folder that keeps events until they are taken")
        return None
    receiver = Receiver(hooked.url, hooked.source, token, hooked.token_file)
    return AuditWebhook(receiver, hooked.spool, hooked.mebibytes * MEBIBYTE)
