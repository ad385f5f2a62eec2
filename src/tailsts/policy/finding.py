"""What is to be said about a policy file: faults, which keep it from being loaded, and warnings."""

import re
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """`FAULT`: not loaded. `SECURITY`: trusts more than it may mean to; a fault where `strict` is asked for."""

    FAULT = "fault"
    SECURITY = "security"
    ADVICE = "advice"


class Finding(msgspec.Struct, frozen=True):
    """One thing to mend. `line` counts from 1, None where it is not known; `path` is the key in the file, or ''."""

    severity: Severity
    code: str
    file: str
    line: int | None
    path: str
    message: str
    advice: str = ""

    def __str__(self) -> str:
        """Return the finding as one line: file:line: severity: key message (advice) [code]."""
        line = self._line()
        # Keys and values of a file under review must not write lines of their own, or steer a terminal.
        return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)

    def _line(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        path = f"{self.path} " if self.path else ""
        advice = f" ({self.advice})" if self.advice else ""
        return f"{place}: {self.severity}: {path}{self.message}{advice} [{self.code}]"


class Page:
    """One file's text, and what was found in it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.findings: list[Finding] = []

    def fault(self, code: str, path: str, message: str, advice: str = "") -> None:
        """Note a fault of the top-level key `path`."""
        self.note(Severity.FAULT, code, path, message, advice)

    def note(self, severity: Severity, code: str, path: str, message: str, advice: str = "") -> None:
        """Note a finding about the top-level key `path`."""
        line = line_of(self.text, path)
        self.findings.append(Finding(severity, code, self.file, line, path, message, advice))


def line_of(text: str, key: str) -> int | None:
    """Return the line, from 1, on which the top-level `key` stands in the TOML `text`."""
    name = re.escape(key)
    found = re.search(rf"""^[ \t]*+\[*+[ \t]*+(?:{name}|"{name}"|'{name}')[ \t]*[=.\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None
