"""The tables of settings against the command line."""

import itertools

import click
import pytest

from fakes.pages import code, read, rows, section
from tailsts.cli import main
from tailsts.cli.serve import command as serve
from tailsts.policy.finding import Page
from tailsts.server.configuration import read_configuration

PAGE = read("docs/settings.md")


def documented(text: str) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return variable and default by the names of the option."""
    return {tuple(code(row[0])): (code(row[1])[0], row[2].strip("`")) for row in rows(text)}


def actual(command: click.Command) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return the same of a command."""
    return {
        (*option.opts, *option.secondary_opts): (str(option.envvar), shown(option))
        for option in command.params
        if isinstance(option, click.Option) and "--help" not in option.opts
    }


def shown(option: click.Option) -> str:
    """Return a default as the table has it."""
    if option.is_flag:
        return "on" if option.default is True else "off"
    given = option.to_info_dict()["default"]
    if isinstance(given, tuple | list):
        return " ".join(given)
    return "" if given is None else str(given)


# Defaults that the code makes of other things, in the words of the tables.
IN_WORDS = {
    "probe": {"--server": "the file's", "--every": "once"},
    "serve": {
        "--ts-client-id": "required",
        "--ts-client-secret": "required",
        "--ca-file": "the system's",
        "--admin-port": "none",
        "--audit-log": "the log",
    },
    "token": {"--scope": "required", "--policy": "whichever allows it"},
    "explain": {"--scope": "required", "--alg": "RS256, if a policy has it"},
    "issuer": {"--issuer": "http://localhost:PORT", "--kid": "its thumbprint"},
    "new": {
        "--scope": "required",
        "--audience": "the token's, or a placeholder",
        "--name": "from the token",
        "--alg": "the token's, or what is usual",
        "--out": "standard output",
    },
}
SECTIONS = {"serve": PAGE, "token": section(PAGE, "The client")}
WITH_OPTIONS = ("audit", "check", "explain", "fixtures", "issuer", "new", "probe", "serve", "test", "token")


def command_of(name: str) -> click.Command:
    """Return a command by its name."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_table(name: str) -> None:
    """Each option, its variable and its default stand in the table of the command, and nothing else does."""
    text = SECTIONS.get(name) or section(PAGE, f"tailsts {name}")
    in_words = IN_WORDS.get(name, {})
    expected = {
        options: (variable, in_words.get(options[0], default))
        for options, (variable, default) in actual(command_of(name)).items()
    }
    assert documented(text) == expected


def test_every_command_is_on_the_page() -> None:
    """The other commands have no options."""
    names = main.list_commands(click.Context(main))
    assert {name for name in names if actual(command_of(name))} == set(WITH_OPTIONS)


def test_variables_of_services() -> None:
    """The options of `tailsts new SERVICE` have the variables that the page says."""
    new = command_of("new")
    assert isinstance(new, click.Group)
    common = {variable for variable, _ in actual(new).values()}
    for name, service in new.commands.items():
        for options, (variable, _) in actual(service).items():
            expected = f"TAILSTS_NEW_{name}_{options[0].removeprefix('--')}".replace("-", "_").upper()
            assert variable in {expected, *common}
    assert "`TAILSTS_NEW_GITHUB_REPO_ID`" in PAGE


def test_the_configuration_file() -> None:
    """The table of the configuration file has each key that it can have, and no other."""
    table = rows(section(PAGE, "The configuration file"))
    keys = sorted(code(row[1])[0] for row in table)
    page = Page("tailsts.toml", '[tailnets.a]\nx = 1\n[trusted_issuers]\nmode = "audit"\nx = 1\n')
    assert read_configuration(page, {}) is None
    known = [
        finding.advice.removeprefix("known: ").split(", ") for finding in page.findings if "known:" in finding.advice
    ]
    assert sorted(itertools.chain(*known)) == keys


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
