"""The HTTP reference, and the table of audit events in docs/operations.md, against the code."""

import re
from typing import get_args, get_type_hints

import msgspec

from fakes.pages import ROOT, code, read, rows, section
from tailsts.audit import Event
from tailsts.errors import ExchangeFault
from tailsts.oidc.rejected import Reason
from tailsts.outcome import Withheld
from tailsts.policy.asked import MAX_SCOPES, MAX_TAGS
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal
from tailsts.server.shown.readiness import Readiness, TrustState
from tailsts.server.wire import MAX_BODY_LENGTH

PAGE = read("docs/http.md")
OPERATIONS = read("docs/operations.md")
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "src/tailsts").rglob("*.py")))


def reasons(outcome: str) -> set[str]:
    """Return the documented reasons of an outcome."""
    (row,) = [row for row in rows(section(PAGE, "Outcomes and reasons")) if code(row[0]) == [outcome]]
    return set(code(row[2]))


def subclasses(kind: type[ExchangeFault]) -> list[type[ExchangeFault]]:
    """Return all classes below `kind` that have none below them."""
    below = [leaf for child in kind.__subclasses__() for leaf in subclasses(child)]
    return below or [kind]


def test_reasons() -> None:
    """Each reason that the code can give is in the table, under its outcome, and no other."""
    assert reasons("rejected") == {reason.value for reason in Reason}
    assert reasons("refused") == {Refusal(check).reason for check in Check} | {
        *get_args(get_type_hints(Withheld)["reason"])
    }
    malformed = set(re.findall(r'(?:Malformed\(\s*\d+,|Unfit\()\s*"(\w+)"', SOURCE))
    assert reasons("malformed") == malformed
    faults = {kind.reason for kind in subclasses(ExchangeFault)} | {"internal"}
    assert reasons("unavailable") | reasons("fault") == faults


def test_messages() -> None:
    """Each message in the table of statuses is in the code."""
    text = re.sub(r"\{MAX_BODY_LENGTH\}|\{MAX_TOKEN_LENGTH\}", str(MAX_BODY_LENGTH), SOURCE)
    text = text.replace("{MAX_SCOPES}", str(MAX_SCOPES)).replace("{MAX_TAGS}", str(MAX_TAGS))
    text = text.replace("{BODY_SECONDS:.0f}", "8")
    for row in rows(section(PAGE, "POST /")):
        for message in code(row[2]):
            assert message.removesuffix(" ...").removeprefix("denied: ") in text, message


def test_statuses() -> None:
    """Each status that the wire can give is in the table."""
    documented = {int(row[0]) for row in rows(section(PAGE, "POST /"))}
    wired = {int(number) for number in re.findall(r"(?:Malformed|_failure|Answer)\(\s*(\d{3})\b", SOURCE)}
    assert wired <= documented


def test_metrics() -> None:
    """Each metric is in the table, and no other."""
    names = set(re.findall(r'"(tailsts_\w+)"', read("src/tailsts/server/shown/exposition.py")))
    documented = {code(row[0])[0].removesuffix("_total") for row in rows(section(PAGE, "Admin port: GET /metrics"))}
    assert documented == names


def test_readiness() -> None:
    """Each member of the readiness document is in the table."""
    table = rows(section(PAGE, "Admin port: GET /readyz"))
    assert {name for row in table for name in code(row[0])} == set(Readiness.__struct_fields__)
    assert set(TrustState.__struct_fields__) <= set(code(table[-1][1]))


def test_audit_members() -> None:
    """Each member of an audit event is in the table, and no other."""
    documented = {name for row in rows(section(OPERATIONS, "The audit log")) for name in code(row[0])}
    event = msgspec.to_builtins(Event("t", "d", "g", "p", "u"))
    assert documented == {*Event.__struct_fields__, *event}
