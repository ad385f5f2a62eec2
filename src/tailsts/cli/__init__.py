"""The command line: one module for each command, loaded when it is called."""

from importlib import import_module

import click

from tailsts import __version__
from tailsts.server import process

# Each is a module of this package with a click command of the same name in it.
COMMANDS = (
    "audit",
    "check",
    "demo",
    "explain",
    "fixtures",
    "issuer",
    "new",
    "probe",
    "schema",
    "serve",
    "test",
    "token",
)


class _Commands(click.Group):
    """Imports a command's module when it is wanted: the client does not wait for the server's libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Before the server's libraries are loaded, which takes longest; and only where it is about to run.
        if args[:1] == ["serve"]:
            process.survive_early_signals()
            process.take_small_pages()
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"tailsts.cli.{cmd_name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tailsts")
def main() -> None:
    """Trade a third-party OIDC token for a short-lived Tailscale API access token.

    Operators: write policies (`new`), `check` and `test` them, `serve`, `probe` what is served, `explain` denials, and
    read the log (`audit`). Workloads: `token`.
    """


def run() -> None:
    """Run the command that the process was started for, and end the process with its status."""
    try:
        main()
    except SystemExit as done:
        process.end(done.code if isinstance(done.code, int) else int(done.code is not None))
