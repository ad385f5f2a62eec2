"""Every policy, test and configuration that a page shows, loaded and run.

A block that begins with `# NAME.toml` or `# NAME.test.toml` is that file; those of one page lie in one folder. Any
other block is a policy of its own, but for `# tailsts.toml`, which is a configuration.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fakes.issuer import jwk, key_pair
from fakes.pages import PAGES, ROOT, blocks, code, read, rows, section
from fakes.tls import Authority
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.document import PolicyDocument
from tailsts.policy.finding import Finding, Page, Severity
from tailsts.policy.model import Generation
from tailsts.policy.patterns.issuer_pattern import refuse_issuer_pattern
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.places.sheaf import TEST_ENDING
from tailsts.policy.store import Loaded, Options, load
from tailsts.policy.trial import read_trials, run, untested
from tailsts.probing.plan import read_plan
from tailsts.server.configuration import read_configuration

CONFIGURATION = "tailsts.toml"
PROBES = "probes.toml"
FILE = re.compile(r"# (?P<name>[\w.-]+\.toml)\n")
COOKBOOK = sorted(path for path in (ROOT / "docs/cookbook").glob("*.md") if path.name != "README.md")
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
# Policies of tailnets that only a configuration names.
OPTIONS = Options(strict=True, tailnets=None)


def files(page: Path) -> Mapping[str, str]:
    """Return the files that a page shows, by name."""
    named = [(FILE.match(block), block) for block in blocks(page.read_text(), "toml")]
    found = [(match["name"], block) for match, block in named if match]
    assert len(found) == len(dict(found)), "a name twice on one page"
    return {name: block for name, block in found if name not in {CONFIGURATION, PROBES}}


WITH_FILES = [page for page in PAGES if files(page)]


def others() -> Iterator[tuple[str, str]]:
    """Yield each policy that is no file, with where it stands."""
    for page in PAGES:
        for number, block in enumerate(blocks(page.read_text(), "toml"), 1):
            if not FILE.match(block):
                yield f"{page.relative_to(ROOT)}:{number}", block


def loaded(folder: Path, texts: Mapping[str, str]) -> Loaded:
    """Load the texts as the files of a folder, beside the files that they name."""
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "cluster-a.pem").write_bytes(Authority().pem)
    (folder / "cluster-a.jwks.json").write_text(json.dumps({"keys": [jwk(key_pair("RS256"), "a")]}))
    return load(folder, OPTIONS)


def worse_than_advice(findings: Sequence[Finding]) -> list[str]:
    """Return what should not be found in anything that is there to be copied."""
    return [str(finding) for finding in findings if finding.severity is not Severity.ADVICE]


@pytest.mark.parametrize(("place", "text"), list(others()), ids=lambda value: value if len(value) < 60 else "")
def test_policies(place: str, text: str, folder: Path) -> None:
    """Each policy on any page loads, also when strict, with nothing worse than advice."""
    result = loaded(folder, {"shown.toml": text})
    assert worse_than_advice(result.findings) == [], place
    assert result.generation is not None


@pytest.mark.parametrize("page", WITH_FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files(page: Path, folder: Path) -> None:
    """The policies that a page shows as files load, also when strict, and the tests beside them pass."""
    texts = files(page)
    check_tests(texts, generation_of(texts, folder), folder)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples(example: Path, folder: Path) -> None:
    """The policies that are there to be copied load without advice, and come with tests that pass."""
    texts = {path.name: path.read_text() for path in example.glob("*.toml")}
    result = loaded(folder, texts)
    assert result.generation is not None
    assert list(result.findings) == []
    assert any(name.endswith(TEST_ENDING) for name in texts)
    check_tests(texts, result.generation, folder)


def test_the_tests_of_the_example_policy(folder: Path) -> None:
    """The tests of the repository's example policy pass."""
    texts = {path.name: path.read_text() for path in (ROOT / "policies").glob("*.toml")}
    for name, text in texts.items():
        (folder / name).write_text(text)
    generation = load(folder, Options()).generation
    assert generation is not None
    check_tests(texts, generation, folder)


def check_tests(texts: Mapping[str, str], generation: Generation, folder: Path) -> None:
    """Fail unless the tests among the texts pass, and leave no policy out."""
    tests = {name: text for name, text in texts.items() if name.endswith(TEST_ENDING)}
    trials = [
        trial
        for name, text in tests.items()
        for trial in read_trials(Page(name, text), lambda name: (folder / name).read_bytes())
    ]
    outcomes = [run(trial, generation, time.time()) for trial in trials]
    assert [(outcome.trial.name, outcome.fault) for outcome in outcomes if outcome.fault] == []
    if tests:
        assert untested(generation, outcomes) == ([], [])


def generation_of(texts: Mapping[str, str], folder: Path) -> Generation:
    """Return the generation that the texts are, without findings that are worse than advice."""
    result = loaded(folder, texts)
    assert worse_than_advice(result.findings) == []
    assert result.generation is not None
    return result.generation


@pytest.mark.parametrize("page", COOKBOOK, ids=lambda page: page.stem)
def test_cookbook_pages_show_policy_and_tests(page: Path) -> None:
    """Each page of the cookbook shows a policy, one test that is allowed and two that are denied."""
    texts = files(page)
    policies = [name for name in texts if not name.endswith(TEST_ENDING)]
    tests = "".join(text for name, text in texts.items() if name.endswith(TEST_ENDING))
    assert policies
    assert re.search(r'^expect *= "allow"', tests, re.MULTILINE)
    assert len(re.findall(r'^expect *= "deny"', tests, re.MULTILINE)) >= 2


def test_cookbook_is_listed() -> None:
    """The list of the cookbook names each page of it."""
    listed = re.findall(r"\]\(([\w-]+\.md)\)", read("docs/cookbook/README.md"))
    assert sorted(listed) == [page.name for page in COOKBOOK]


def test_configurations() -> None:
    """Each configuration that a page shows can be read."""
    seen = 0
    for page in PAGES:
        for block in blocks(page.read_text(), "toml"):
            if block.startswith(f"# {CONFIGURATION}\n"):
                seen += 1
                text = Page(CONFIGURATION, block)
                assert read_configuration(text, {"STAGING_SECRET": "tskey-client-k1-x"}) is not None, text.findings
    assert seen


def test_issuer_patterns() -> None:
    """What the reference calls good patterns of issuers are accepted, and what it calls bad are not."""
    table = rows(section(read("docs/policies.md"), "Issuers by pattern"))
    assert {row[1].partition(":")[0] for row in table} == {"good", "bad"}
    for row in table:
        (text,) = code(row[0])
        compile_pattern(text)
        assert (refuse_issuer_pattern(text) is None) == (row[1] == "good"), text


def test_conditions() -> None:
    """Each condition that is shown in the table is one, and reads only variables that there are."""
    page = section(read("docs/conditions.md"), "Conditions")
    variables = {code(row[0])[0] for row in rows(page)}
    shown = [code(row[0])[0] for row in rows(page[page.index("| condition |") - 1 :])]
    assert shown
    for text in shown:
        assert set(re.findall(r"\b(claims|scopes|tags|now)\b", compile_expression(text).text)) <= variables


def test_the_schema_knows_the_same_keys() -> None:
    """The table of keys has those of the schema for editors, and no other."""
    table = rows(section(read("docs/policies.md"), "Keys"))
    assert {code(row[0])[0] for row in table} == set(PolicyDocument.__struct_fields__)


def test_probes() -> None:
    """Files of probes that pages show can be read."""
    shown = [block for page in PAGES for block in blocks(page.read_text(), "toml") if block.startswith(f"# {PROBES}\n")]
    assert shown
    for text in shown:
        page = Page(PROBES, text)
        assert read_plan(page) is not None, page.findings
