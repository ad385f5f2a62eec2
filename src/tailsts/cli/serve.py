"""`tailsts serve`: the service."""

import os
from pathlib import Path

import click
from click.core import ParameterSource

from tailsts.cli.bounds import Bounded, bounds_options
from tailsts.cli.faults import give_up
from tailsts.cli.hooking import Hooked, audit_webhook, hook_options
from tailsts.cli.options import config_option, git_options
from tailsts.cli.roots import ca_file_option, extra_roots
from tailsts.cli.tailnets import Flags, open_configuration, tailnets_of
from tailsts.errors import ConfigurationError, FileError
from tailsts.server import app
from tailsts.server.configuration import Configuration
from tailsts.server.settings import DEFAULT_TOKEN_URL, LEVELS, GitSettings, Level, Settings
from tailsts.server.traces.collector import read_traces
from tailsts.tailscale.secret_file import read_secret


@click.command(name="serve")
@config_option
@click.option("--ts-client-id", envvar="TS_CLIENT_ID", show_envvar=True, help="The OAuth client's id.")
@click.option(
    "--ts-client-secret",
    envvar="TS_CLIENT_SECRET",
    show_envvar=True,
    help="The OAuth client's secret. On the command line, others on the machine can see it: better the next one.",
)
@click.option(
    "--ts-client-secret-file",
    envvar="TS_CLIENT_SECRET_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="A file that holds the OAuth client's secret. Read anew within 5 seconds of a change.",
)
@click.option(
    "--ts-token-url",
    envvar="TS_TOKEN_URL",
    show_envvar=True,
    default=DEFAULT_TOKEN_URL,
    show_default=True,
    help="Tailscale's token endpoint.",
)
@click.option(
    "--policies-dir",
    envvar="POLICIES_DIR",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default="policies",
    show_default=True,
    help="The folder of the trust policies. Read anew when it changes, and on SIGHUP.",
)
@click.option(
    "--watch/--no-watch",
    envvar="TAILSTS_WATCH",
    show_envvar=True,
    default=True,
    show_default=True,
    help="Read the policies anew when they change, without being told.",
)
@git_options
@bounds_options
@click.option(
    "--audience",
    "audiences",
    envvar="TAILSTS_AUDIENCE",
    show_envvar=True,
    multiple=True,
    help="The audience that tokens must have where a policy names none. Repeatable; blanks in the variable.",
)
@click.option(
    "--strict",
    envvar="TAILSTS_STRICT",
    show_envvar=True,
    is_flag=True,
    help="Do not start with a policy that has a security warning.",
)
@ca_file_option("Certificates (PEM) to trust in addition, for issuers and Tailscale alike.")
@click.option(
    "--host",
    envvar="TAILSTS_HOST",
    show_envvar=True,
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on.",
)
@click.option(
    "--port",
    envvar="PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port to listen on; 0: a free one.",
)
@click.option(
    "--admin-host",
    envvar="TAILSTS_ADMIN_HOST",
    show_envvar=True,
    default="127.0.0.1",
    show_default=True,
    help="The address for readiness and metrics.",
)
@click.option(
    "--admin-port",
    envvar="TAILSTS_ADMIN_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="The port for readiness and metrics. Without it there is none.",
)
@click.option("--json-logging", envvar="JSON_LOGGING", show_envvar=True, is_flag=True, help="Write the log as JSON.")
@click.option(
    "--log-level",
    envvar="TAILSTS_LOG_LEVEL",
    show_envvar=True,
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Write what is at least this important.",
)
@click.option(
    "--audit-log",
    envvar="TAILSTS_AUDIT_LOG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="The file for the audit log. Without it, the decisions' lines in the log are the audit log; with it, the log "
    "has them as well, at --log-level info.",
)
@click.option(
    "--audit-required",
    envvar="TAILSTS_AUDIT_REQUIRED",
    show_envvar=True,
    is_flag=True,
    help="Hand out no token before its audit event was written.",
)
@click.option(
    "--traces",
    envvar="TAILSTS_TRACES",
    show_envvar=True,
    type=click.FloatRange(0, 1),
    default=0,
    show_default=True,
    help="The share of exchanges to trace, from 0 to 1. They go where OTEL_EXPORTER_OTLP_ENDPOINT says. Needs the "
    "extra tailsts[otel].",
)
@hook_options
def command(  # noqa: PLR0913 - one parameter for each option is what click wants
    *,
    config: Path | None,
    ts_client_id: str | None,
    ts_client_secret: str | None,
    ts_client_secret_file: Path | None,
    ts_token_url: str,
    policies_dir: Path,
    watch: bool,
    git: GitSettings | None,
    bounded: Bounded,
    audiences: tuple[str, ...],
    strict: bool,
    ca_file: Path | None,
    host: str,
    port: int,
    admin_host: str,
    admin_port: int | None,
    json_logging: bool,
    log_level: Level,
    audit_log: Path | None,
    audit_required: bool,
    traces: float,
    hooked: Hooked,
) -> None:
    """Run the service.

    Each option can also be given by the environment variable that stands with it. SIGHUP reads the policies anew;
    SIGTERM and SIGINT finish what is in flight and stop. Exits with 2 if it cannot start, and says every reason.
    """
    lines: list[str] = []
    flags = Flags((ts_client_id or "").strip(), ts_client_secret, ts_client_secret_file, ts_token_url)
    configuration = Configuration({}, None) if config is None else open_configuration(config, flags, lines)
    if git is not None:
        _check_git(git, lines)
    settings = Settings(
        tailnets=tailnets_of(flags, configuration, lines),
        trusted_issuers=None if configuration is None else configuration.trusted_issuers,
        policies_dir=policies_dir,
        watch=watch,
        git=git,
        audiences=audiences,
        strict=strict,
        host=host,
        port=port,
        admin_host=admin_host,
        admin_port=admin_port,
        json_logging=json_logging,
        log_level=log_level,
        audit_log=audit_log,
        audit_required=audit_required,
        audit_webhook=audit_webhook(hooked, lines),
        extra_roots=extra_roots(ca_file, lines),
        admission=bounded.admission,
        state=bounded.state,
        single_use=bounded.single_use,
        workers=bounded.workers,
        traces=read_traces(traces, os.environ, lines),
    )
    try:
        app.serve(settings, lines)
    except ConfigurationError as error:
        give_up(error.faults)


def _check_git(git: GitSettings, lines: list[str]) -> None:
    # The image sets POLICIES_DIR: only who writes both cannot mean both.
    if click.get_current_context().get_parameter_source("policies_dir") is ParameterSource.COMMANDLINE:
        lines.append("both --policies-dir and --policies-git are given: which one is meant?")
    if git.token_file is not None:
        try:
            read_secret(git.token_file)
        except FileError as error:
            lines.append(f"--policies-token-file {git.token_file} {error}")
