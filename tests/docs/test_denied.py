"""The page on denials: its reasons against the code, its example as it stands."""

import re
import subprocess
import sys
from pathlib import Path

from fakes.pages import ROOT, blocks, code, commands, read, rows, section
from fakes.service import environment
from tailsts.errors import ExchangeFault, UnavailableError
from tailsts.oidc.rejected import Reason
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal

PAGE = read("docs/denied.md")
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "src/tailsts").rglob("*.py")))
MALFORMED = re.compile(r'Malformed\(\s*(\d+),\s*"(\w+)"')
UNFIT = re.compile(r'Unfit\(\s*"(\w+)"')
DENIED = 1


def subclasses(kind: type[ExchangeFault]) -> list[type[ExchangeFault]]:
    """Return all classes below `kind` that have none below them."""
    below = [leaf for child in kind.__subclasses__() for leaf in subclasses(child)]
    return below or [kind]


def status_of_fault(kind: type[ExchangeFault]) -> str:
    """Return the HTTP status of a fault."""
    return "503" if issubclass(kind, UnavailableError) else "502"


def test_reasons() -> None:
    """The table has each reason that an exchange can end with, with its status, and no other."""
    actual = {Refusal(check).reason: "403" for check in Check}
    actual |= {reason.value: "401" for reason in Reason}
    actual |= {reason: status for status, reason in MALFORMED.findall(SOURCE)}
    actual |= dict.fromkeys(UNFIT.findall(SOURCE), "400")
    actual |= {kind.reason: status_of_fault(kind) for kind in subclasses(ExchangeFault)}
    actual |= {"replayed": "403", "rate_limited": "429"}
    actual |= {"internal": "500", "aborted": "none"}
    assert {code(row[0])[0]: row[1] for row in rows(section(PAGE, "Reasons"))} == actual


def test_the_example(tmp_path: Path) -> None:
    """The explanation on the page is what the command says of the claims and the policy that stand there."""
    (claims,), (policy,), (shell,), (shown,) = (blocks(PAGE, kind) for kind in ("json", "toml", "sh", "text"))
    ((_, *words),) = commands(shell)
    (tmp_path / "claims.json").write_text(claims)
    (tmp_path / "my-policies").mkdir()
    (tmp_path / "my-policies" / "infra.toml").write_text(policy)
    done = subprocess.run(
        [sys.executable, "-m", "tailsts", *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (shown, "", DENIED) == (done.stdout, done.stderr, done.returncode)
