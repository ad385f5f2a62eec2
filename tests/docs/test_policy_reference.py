"""The policy reference against the parser, and against what `check` can find."""

import ast
from pathlib import Path

import pytest

from fakes.pages import ROOT, blocks, code, read, rows, section
from tailsts.oidc.token import ALGORITHMS
from tailsts.policy.finding import Page, Severity
from tailsts.policy.model import DEFAULT_MAX_LIFETIME
from tailsts.policy.parse import parse
from tailsts.policy.store import Options, load

PAGE = read("docs/policies.md")
KEYS = rows(section(PAGE, "Keys"))
OTHERS = ("trial", "trusted")


def test_keys() -> None:
    """The table has each key that a policy can have, and no other."""
    page = Page("p.toml", "nonsense = 1\n")
    parse("p", page)
    (unknown,) = [finding for finding in page.findings if finding.code == "unknown-key"]
    known = unknown.advice.removeprefix("known: ").split(", ")
    assert sorted(code(row[0])[0] for row in KEYS) == known


def test_required_keys() -> None:
    """The keys that the table calls required are those that an empty policy lacks."""
    page = Page("p.toml", "")
    parse("p", page)
    required = sorted(code(row[0])[0] for row in KEYS if row[2] == "required")
    assert required == sorted(finding.path for finding in page.findings if finding.code == "missing")


def test_defaults() -> None:
    """The defaults in the table are those of the parser."""
    page = Page("p.toml", 'issuer = "https://a.example"\nallowed_scopes = ["dns"]\n')
    draft = parse("p", page)
    assert draft is not None
    defaults = {code(row[0])[0]: row[2] for row in KEYS}
    assert defaults["algorithm"] == f'`"{next(iter(draft.algorithms))}"`'
    assert defaults["any_subject"] == defaults["allow_http"] == "`false`"
    assert (draft.any_subject, draft.allow_http) == (False, False)
    assert defaults["max_lifetime"] == f"{draft.max_lifetime // 3600} hours"
    assert draft.max_lifetime == DEFAULT_MAX_LIFETIME


def test_algorithms() -> None:
    """The table names each algorithm that is accepted."""
    (meaning,) = [row[3] for row in KEYS if row[0] == "`algorithm`"]
    names = meaning.partition(": ")[2].replace(" (Ed25519).", "").split(", ")
    assert sorted(names) == sorted(ALGORITHMS)


def findings_in_the_source() -> dict[str, str]:
    """Return the severity of each code that the policy package can find in policies."""
    found: dict[str, str] = {}
    # These two read the tests of policies, and a part of the configuration.
    for path in {*(ROOT / "src/tailsts/policy").rglob("*.py")} - {
        ROOT / f"src/tailsts/policy/{name}.py" for name in OTHERS
    }:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found.update(finding_of(node))
    return found


def finding_of(call: ast.Call) -> dict[str, str]:
    """Return codes and severity if the call makes a finding with a literal code, or one of several."""
    match call.func:
        case ast.Attribute(attr="fault") if call.args:
            return dict.fromkeys(literals(call.args[0]), "fault")
        case ast.Attribute(attr="note") | ast.Name(id="Finding") if len(call.args) > 1:
            return dict.fromkeys(literals(call.args[1]), ast.unparse(call.args[0]).rpartition(".")[2].lower())
    return {}


def literals(argument: ast.expr) -> list[str]:
    """Return the texts in an argument."""
    return [node.value for node in ast.walk(argument) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_findings() -> None:
    """The table has each code that `check` can find, with its severity."""
    documented = {code(row[0])[0]: row[1] for row in rows(section(PAGE, "What `tailsts check` finds"))}
    assert documented == findings_in_the_source()
    assert set(documented.values()) == {severity.value for severity in Severity}


def test_the_policy_loads(folder: Path) -> None:
    """The policy at the top of the page loads, also when strict, with nothing worse than advice."""
    (folder / "p.toml").write_text(blocks(PAGE, "toml")[0])
    assert {finding.severity for finding in load(folder, Options(strict=True)).findings} <= {Severity.ADVICE}


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/policy.toml")), ids=lambda path: path.parent.name)
def test_examples(path: Path, folder: Path) -> None:
    """The policies that are there to be copied load, also when strict, with nothing worse than advice."""
    (folder / "p.toml").write_text(path.read_text())
    loaded = load(folder, Options(strict=True))
    assert loaded.generation is not None
    assert {finding.severity for finding in loaded.findings} <= {Severity.ADVICE}


def test_the_example_of_the_repository(folder: Path) -> None:
    """The example policy loads; that its issuer is plain HTTP is the only warning."""
    (folder / "p.toml").write_text(read("policies/policy.example.toml"))
    assert [finding.code for finding in load(folder, Options()).findings] == ["http-issuer"]


def test_the_seed_format(folder: Path) -> None:
    """The format that came before loads unchanged."""
    (folder / "p.toml").write_text(
        'issuer = "http://localhost:8888"          # the token\'s iss, exact\n'
        'algorithm = "RS256"\n'
        'subject = "test"\n'
        'jwks_url = "http://localhost:8888/jwks"\n'
        'allowed_scopes = ["acls", "devices:read"]\n'
    )
    assert load(folder, Options()).generation is not None
