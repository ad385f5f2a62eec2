"""The page on policy tests against the reader of tests, and what it says of other commands against these."""

import itertools
import re

import click

from fakes.pages import ROOT, blocks, code, read, rows, section
from tailsts.authoring.services import SERVICES
from tailsts.cli import main
from tailsts.errors import FileError
from tailsts.policy.finding import Page
from tailsts.policy.trial import read_trials

PAGE = read("docs/policy-tests.md")
KEYS = rows(section(PAGE, "A test"))
HOOKS = read(".pre-commit-hooks.yaml")


def no_file(_: str) -> bytes:
    """Name no file."""
    raise FileError("is not there")


def findings_of(text: str) -> Page:
    """Return the page with what is wrong with a file of tests."""
    page = Page("p.test.toml", text)
    assert read_trials(page, no_file) == []
    return page


def test_keys() -> None:
    """The table has each key that a test can have, and no other."""
    (unknown,) = [found for found in findings_of("[[test]]\nnonsense = 1\n").findings if found.code == "unknown-key"]
    known = unknown.advice.removeprefix("known: ").split(", ")
    # Asked for where a test has it.
    assert sorted(code(row[0])[0] for row in KEYS) == sorted({*known, "opa"})


def test_required_keys() -> None:
    """The keys that the table calls required are those that an empty test lacks, beside its claims."""
    missing = {found.path.rpartition(".")[2] for found in findings_of("[[test]]\n").findings if found.code == "missing"}
    assert {code(row[0])[0] for row in KEYS if row[2] == "required"} | {"claims"} == missing


def test_services() -> None:
    """The page names each service of `tailsts new`, and no other."""
    (listed,) = re.findall(r"there is a form for each service: ([^.]+)\.", PAGE)
    assert sorted(code(listed)) == sorted(service.name for service in SERVICES)


def test_continuous_integration() -> None:
    """The commands of the workflow exist, with the options that are written."""
    (workflow,) = (block for block in blocks(PAGE, "yaml") if "run: tailsts" in block)
    found = re.findall(r"- run: tailsts (.+)$", workflow, re.MULTILINE)
    assert found
    for line in found:
        refuse_unknown(line.split())


def refuse_unknown(words: list[str]) -> None:
    """Fail unless the words are a command of ours, with options and choices that it has."""
    command = main.get_command(click.Context(main), words[0])
    assert command is not None, words
    options = {name: option for option in command.params for name in option.opts}
    for word, after in itertools.pairwise([*words, ""]):
        if word.startswith("--"):
            kind = options[word].type
            assert not isinstance(kind, click.Choice) or after in kind.choices, words


def test_hooks() -> None:
    """The hooks on the page are there, and run commands that exist."""
    on_the_page = re.findall(r"- id: (\S+)", "".join(blocks(section(PAGE, "Before a commit"), "yaml")))
    assert on_the_page == re.findall(r"^- id: (\S+)", HOOKS, re.MULTILINE)
    for entry in re.findall(r"^  entry: tailsts (.+)$", HOOKS, re.MULTILINE):
        refuse_unknown(entry.split())
    assert (ROOT / "docs/policy.schema.json").exists()
