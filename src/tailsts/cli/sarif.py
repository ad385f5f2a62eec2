"""Findings as SARIF 2.1.0, which code scanning services read."""

from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import quote

import msgspec

from tailsts import __version__
from tailsts.cli.annotations import said
from tailsts.policy.finding import Finding, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.FAULT: "error", Severity.SECURITY: "warning", Severity.ADVICE: "note"}


def document(findings: Sequence[Finding]) -> str:
    """Return a log of one run with a rule for each code that was found, and a result for each finding."""
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "tailsts check",
        "version": __version__,
        "rules": [_rule(code, findings) for code in codes],
    }
    results = [_result(finding, codes.index(finding.code)) for finding in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return msgspec.json.format(msgspec.json.encode({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})).decode()


def _rule(code: str, findings: Sequence[Finding]) -> dict[str, object]:
    worst = min((finding.severity for finding in findings if finding.code == code), key=list(Severity).index)
    return {
        "id": code,
        "shortDescription": {"text": code.replace("-", " ")},
        "defaultConfiguration": {"level": _LEVELS[worst]},
    }


def _result(finding: Finding, index: int) -> dict[str, object]:
    place = {
        "artifactLocation": _artifact(finding.file),
        # Where no line is known, it is about the whole file: services want one all the same.
        "region": {"startLine": finding.line or 1},
    }
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": said(finding)},
        "locations": [{"physicalLocation": place}],
    }


def _artifact(file: str) -> dict[str, object]:
    path = PurePath(file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    # Relative to where the repository's uppermost folder is, as services understand it.
    return {"uri": quote(path.as_posix()), "uriBaseId": "%SRCROOT%"}
