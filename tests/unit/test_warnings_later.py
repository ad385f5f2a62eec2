"""What is only warned about can wait until the policies are in force; what is a fault cannot."""

import json
from pathlib import Path

import pytest

from fakes.issuer import Issuer
from fakes.pages import ROOT
from fakes.policies import policy
from tailsts.policy.finding import Severity
from tailsts.policy.places.sheaf import read_folder
from tailsts.policy.store import Memory, Options, compile_sheaf, load, warnings

GITHUB = "https://token.actions.githubusercontent.com"
# Each of them is warned about.
TEXTS = {
    "c": policy("http://localhost:1", allowed_scopes=["all"]),
    "a": policy("https://issuer.example.com", audience=None),
    "b": policy(GITHUB, jwks_url=None, subject="repo:acme/infra:pull_request"),
}


@pytest.fixture
def policies(folder: Path) -> Path:
    """Return a folder of policies that nobody should have written."""
    for name, text in TEXTS.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "keys.json").write_text(json.dumps(Issuer("").jwks()))
    (folder / "keys.json").chmod(0o600)
    (folder / "named.toml").write_text(policy("https://named.example.com", jwks_url=None, jwks_file="keys.json"))
    return folder


def test_the_same_is_said(policies: Path) -> None:
    """Later is said what would have been said at once, in the same order; each time it is asked for."""
    at_once = load(policies, Options()).findings
    late = compile_sheaf(read_folder(policies), Options(), warn_later=True)
    assert late.generation is not None
    assert len(at_once) > len(TEXTS)
    assert late.findings == []
    assert warnings(late) == warnings(late) == at_once


def test_a_reload_says_the_same(policies: Path) -> None:
    """One file changes: what is said of all of them is what a new start would say, whatever was judged before."""
    memory = Memory()
    warnings(compile_sheaf(read_folder(policies), Options(), memory, warn_later=True))
    (policies / "a.toml").write_text(policy("https://other.example.com", audience=None))
    late = compile_sheaf(read_folder(policies), Options(), memory, warn_later=True)
    assert warnings(late) == load(policies, Options()).findings


def test_what_was_never_judged_is_not_lost(policies: Path) -> None:
    """A reload that comes before the warnings of the last one were looked for says them as well."""
    memory = Memory()
    compile_sheaf(read_folder(policies), Options(), memory, warn_later=True)
    late = compile_sheaf(read_folder(policies), Options(), memory, warn_later=True)
    assert warnings(late) == load(policies, Options()).findings


def test_faults_do_not_wait(policies: Path) -> None:
    """A policy that does not load is found at once, and where warnings are faults, they are."""
    strict = compile_sheaf(read_folder(policies), Options(strict=True), warn_later=True)
    assert (strict.generation, strict.later) == (None, None)
    assert strict.findings == load(policies, Options(strict=True)).findings


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("issuer = 1\n", "type"),
        (policy(GITHUB, jwks_url=None, subject=None, subject_pattern=".*"), "shared-issuer"),
        (policy(GITHUB, jwks_url=None, subject=None, subject_pattern="repo:acme.*"), "shared-issuer"),
        (policy(GITHUB, jwks_url=None, subject=None, condition='claims.ref == "refs/heads/main"'), "shared-issuer"),
        (policy("https://issuer.example.com", tailnet="none"), "unknown-tailnet"),
    ],
)
def test_each_fault_is_found_at_once(policies: Path, text: str, code: str) -> None:
    """Whatever is a fault keeps the policies from coming into force, with all that was to be said of that one."""
    (policies / "d.toml").write_text(text)
    broken = compile_sheaf(read_folder(policies), Options(), warn_later=True)
    assert broken.generation is None
    assert code in [found.code for found in broken.findings if found.severity is Severity.FAULT]
    at_once = load(policies, Options()).findings
    assert [found for found in at_once if found.file.endswith("/d.toml")] == broken.findings


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in ROOT.glob("tests/data/judged/*/*.test.toml")), ids=str
)
def test_the_same_policies_load(folder: Path) -> None:
    """What comes into force does not depend on when warnings are looked for."""
    late = compile_sheaf(read_folder(folder), Options(tailnets=None), warn_later=True)
    at_once = load(folder, Options(tailnets=None))
    assert (late.generation is None) == (at_once.generation is None)
    assert {found.severity for found in warnings(late)} == {found.severity for found in at_once.findings}
