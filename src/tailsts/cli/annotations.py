"""Findings as workflow commands of GitHub Actions, which shows them beside the lines that they are about."""

from collections.abc import Iterable

from tailsts.policy.finding import Finding, Severity

_LEVELS = {Severity.FAULT: "error", Severity.SECURITY: "warning", Severity.ADVICE: "notice"}


def lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line for each finding."""
    return [_line(finding) for finding in findings]


def said(finding: Finding) -> str:
    """Return the finding's own words, without its place, as one line that steers no terminal."""
    path = f"{finding.path} " if finding.path else ""
    advice = f" ({finding.advice})" if finding.advice else ""
    line = f"{path}{finding.message}{advice}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


def _line(finding: Finding) -> str:
    properties = {"file": finding.file, "line": str(finding.line or 1), "title": f"tailsts check: {finding.code}"}
    where = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
    return f"::{_LEVELS[finding.severity]} {where}::{_message(said(finding))}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
