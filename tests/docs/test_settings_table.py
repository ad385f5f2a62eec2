"""The tables of settings against the command line."""

import click
import pytest

from fakes.pages import code, read, rows, section
from tailsts.cli import main
from tailsts.cli.check import command as check
from tailsts.cli.issuer import command as issuer
from tailsts.cli.serve import command as serve
from tailsts.cli.token import command as token

PAGE = read("docs/settings.md")


def documented(text: str) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return variable and default by the names of the option."""
    return {tuple(code(row[0])): (code(row[1])[0], row[2].strip("`")) for row in rows(text)}


def actual(command: click.Command) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return the same of a command."""
    return {
        tuple(option.opts): (str(option.envvar), shown(option))
        for option in command.params
        if isinstance(option, click.Option) and "--help" not in option.opts
    }


def shown(option: click.Option) -> str:
    """Return a default as the table has it."""
    if option.is_flag:
        return "off"
    in_words = {
        "ts_client_id": "required",
        "ts_client_secret": "required",
        "scopes": "required",
        "ca_file": "the system's",
        "admin_port": "none",
        "audit_log": "the log",
        "issuer": "http://localhost:PORT",
        "kid": "its thumbprint",
    }
    given = option.to_info_dict()["default"]
    if isinstance(given, tuple | list):
        return " ".join(given)
    return in_words.get(option.name or "", "" if given is None else str(given))


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (PAGE, serve),
        (section(PAGE, "The client"), token),
        (section(PAGE, "tailsts check"), check),
        (section(PAGE, "tailsts issuer"), issuer),
    ],
)
def test_table(text: str, command: click.Command) -> None:
    """Each option, its variable and its default stand in the table, and nothing else does."""
    assert documented(text) == actual(command)


def test_every_option_has_a_variable_and_a_help_text() -> None:
    """Each option of each command can come from the environment, says so, and says what it is."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert command.help
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.envvar, option.opts
                assert option.show_envvar, option.opts
                assert option.help, option.opts


def test_the_image() -> None:
    """What the page says of the image is what the image sets."""
    image = read("Dockerfile")
    for line in (
        "TAILSTS_HOST=0.0.0.0",
        "TAILSTS_ADMIN_HOST=0.0.0.0",
        "TAILSTS_ADMIN_PORT=9090",
        "POLICIES_DIR=/policies",
        'ENTRYPOINT ["tailsts", "serve"]',
        "USER 10001:10001",
    ):
        assert line in image
    variables = {option.envvar for option in serve.params}
    assert {"TAILSTS_HOST", "TAILSTS_ADMIN_HOST", "TAILSTS_ADMIN_PORT", "POLICIES_DIR"} <= variables
