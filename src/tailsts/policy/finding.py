"""What is to be said about a policy file: faults, which keep it from being loaded, and warnings."""

import re
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """`FAULT`: not loaded. `SECURITY`: trusts more than it may mean to; a fault where `strict` is asked for."""

    FAULT = "fault"
    SECURITY = "security"
    ADVICE = "advice"


class Finding(msgspec.Struct, frozen=True, gc=False):
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

    def fault(self, code: str, path: str, message: str, advice: str = "", *, line: int | None = None) -> None:
        """Note a fault of the top-level key `path`, on its line unless another one is said."""
        found = line_of(self.text, path) if line is None else line
        self.findings.append(Finding(Severity.FAULT, code, self.file, found, path, message, advice))

    def line_within(self, path: str, number: int) -> int | None:
        """Return on which line of the file the line `number` of the key's text is."""
        start = line_of(self.text, path)
        if start is None:
            return None
        # A text between three quotes may begin below its key.
        below = self.text.split("\n")[start - 1].rstrip().endswith(('"""', "'''"))
        return start + below + number - 1

    def sort(self) -> None:
        """Put faults first, and both them and warnings into the order of their lines."""
        faults = [finding for finding in self.findings if finding.severity is Severity.FAULT]
        warnings = [finding for finding in self.findings if finding.severity is not Severity.FAULT]
        # A key that is missing, which has no line, may be missing only because of another fault; a warning is a whole.
        faults.sort(key=lambda finding: (finding.line is None, finding.line or 0))
        self.findings = faults + sorted(warnings, key=lambda finding: finding.line or 0)

    def note(self, severity: Severity, code: str, path: str, message: str, advice: str = "") -> None:
        """Note a finding about the top-level key `path`."""
        line = line_of(self.text, path)
        self.findings.append(Finding(severity, code, self.file, line, path, message, advice))


def line_of(text: str, path: str) -> int | None:
    """Return the line, from 1, on which the dotted key `path` stands in the TOML `text`, or the table that it is in."""
    wanted = _names(path)
    best, line_of_best = 0, None
    within: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            here = within = _names(header[1])
        elif found := _KEY.match(line):
            here = (*within, *_names(found[1]))
        else:
            continue
        # The first that goes furthest: a table that the key is in counts, and so does what is within the key.
        common = min(len(here), len(wanted))
        if here[:common] == wanted[:common] and common > best:
            best, line_of_best = common, number
    return line_of_best


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(name[1:-1] if name[0] in "\"'" else name for name in _NAME.findall(dotted))


_QUOTED = r"""\"(?:[^"\\]|\\.)*+\"|'[^']*+'"""
_NAME = re.compile(rf"{_QUOTED}|[A-Za-z0-9_-]+")
_DOTTED = rf"((?:{_QUOTED}|[A-Za-z0-9_-]++|[ \t]*+\.[ \t]*+)++)"
_HEADER = re.compile(rf"[ \t]*+\[++[ \t]*+{_DOTTED}[ \t]*+\]")
_KEY = re.compile(rf"[ \t]*+{_DOTTED}[ \t]*+=")
