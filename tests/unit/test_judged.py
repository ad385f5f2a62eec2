"""The table: policies and tokens in `tests/data/judged`, in the form of `tailsts test`, each pair with its verdict."""

import re
from pathlib import Path

import pytest

from fakes.judging import NOW
from tailsts import fixtures
from tailsts.errors import FileError
from tailsts.policy.condition import Check
from tailsts.policy.finding import Page
from tailsts.policy.model import Generation
from tailsts.policy.places.sheaf import TEST_ENDING
from tailsts.policy.store import Options, load
from tailsts.policy.trial import Trial, read_trials, run, untested

ROOT = Path(__file__).parent.parent / "data" / "judged"
FOLDERS = sorted(path.name for path in ROOT.iterdir())
# Threats that are about what a policy says and what a token has.
IDS = {
    *("J-18", "J-19", "J-20", "J-21", "J-22", "J-23"),
    *(f"P-0{number}" for number in (1, 2, 4, 5, 6, 7, 8, 9)),
    *("P-14", "P-19", "U-03", "U-07", "U-09", "N-15"),
    *(f"I-{number:02}" for number in range(1, 15)),
}


def no_file(_name: str) -> bytes:
    """Return no file: the table is whole in itself."""
    raise FileError("is not part of the table")


def generation(name: str) -> Generation:
    """Return the policies of a folder."""
    loaded = load(ROOT / name, Options())
    assert loaded.generation is not None, loaded.findings
    return loaded.generation


def trials(name: str) -> list[Trial]:
    """Return the tests of a folder."""
    path = ROOT / name / f"{name}{TEST_ENDING}"
    page = Page(path.name, path.read_text())
    found = read_trials(page, no_file)
    assert page.findings == []
    return found


POLICIES = {name: generation(name) for name in FOLDERS}
TRIALS = {name: trials(name) for name in FOLDERS}
ROWS = [(name, trial) for name in FOLDERS for trial in TRIALS[name]]


@pytest.mark.parametrize(("folder", "trial"), ROWS, ids=[f"{name}: {trial.name}" for name, trial in ROWS])
def test_verdict(folder: str, trial: Trial) -> None:
    """Each token is allowed, or denied for the reason that the table names, under the policy that it names."""
    assert run(trial, POLICIES[folder], NOW).fault == ""
    assert (trial.reason is None) == (trial.expect == "allow")


def test_the_table_is_whole() -> None:
    """The table has at least 150 pairs, every check, every issuer's claims, and each of the threats in it."""
    assert len(ROWS) >= 150
    assert {f"{check.name.lower()}_not_allowed" for check in Check} <= {trial.reason for _, trial in ROWS}
    assert {found for _, trial in ROWS for found in re.findall(r"[A-Z]-[0-9]{2}", trial.name)} >= IDS
    text = "".join(path.read_text() for path in ROOT.glob(f"*/*{TEST_ENDING}"))
    assert {name for name in fixtures.names() if f'fixture = "{name}"' not in text} == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_policy_allows_somebody_and_denies_somebody(folder: str) -> None:
    """Each policy of the table has a token that it allows, and one that it denies."""
    outcomes = [run(trial, POLICIES[folder], NOW) for trial in TRIALS[folder]]
    assert untested(POLICIES[folder], outcomes) == ([], [])
