"""Entries and summaries of an audit log as text for people, and as values for programs. Pure.

All text is printable ASCII: a log holds what strangers chose, and must not steer a terminal.
"""

import json
import re
from collections.abc import Iterator, Sequence

from tailsts.auditing.entries import Entry, Kind
from tailsts.auditing.summary import Summary, Table, tables

_PLAIN = re.compile(r"[!#-\[\]-~]+")
_OUTCOME_WIDTH = len("unavailable")


def entry_line(entry: Entry) -> str:
    """Return an entry as one line: when, what came of it and why, and then who asked for what."""
    said = [
        ("policy", entry.policy),
        ("subject" if entry.verified else "unverified_subject", entry.subject),
        ("issuer" if entry.verified else "unverified_issuer", entry.issuer),
        ("scopes", ",".join(entry.requested_scopes)),
        ("tags", ",".join(entry.requested_tags)),
        ("requested_policy", entry.requested_policy),
        ("would_refuse", entry.would_refuse),
        ("undelivered", "yes" if entry.undelivered else ""),
        ("decision", entry.decision),
    ]
    more = " ".join(f"{name}={quoted(value)}" for name, value in said if value)
    return f"{entry.time} {quoted(entry.outcome):{_OUTCOME_WIDTH}} {quoted(entry.reason)} {more}"


def quoted(text: str) -> str:
    """Return the text as it is, or as JSON if a blank, a quote or anything unprintable is in it, or nothing."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")


def summary_lines(summary: Summary, top: int) -> Iterator[str]:
    """Yield the summary for people."""
    kinds = ", ".join(f"{count} {kind.value}" for kind, count in summary.kinds.most_common())
    yield f"exchanges: {summary.entries}" + (f" ({kinds})" if kinds else "")
    if not summary.entries:
        return
    yield f"from {summary.first} to {summary.last}"
    if summary.let_go:
        yield f"more different ones than are counted: a count may be too small by up to {summary.let_go}"
    sizes = {"issuers": len(summary.issuers), "subjects": len(summary.subjects)}
    for table in tables(summary, top):
        yield ""
        yield from _aligned([table.columns, *([_cell(text) for text in key] + [str(n)] for key, n in table.rows)])
        if (size := sizes.get(table.name, 0)) > top:
            yield f"... and {size - top} more"


def summary_value(summary: Summary, top: int) -> dict[str, object]:
    """Return the summary as a value for JSON."""
    return {
        "exchanges": summary.entries,
        "first": summary.first or None,
        "last": summary.last or None,
        **{kind.value: summary.kinds[kind] for kind in Kind},
        "may_be_missing": summary.let_go,
        **{table.name: _objects(table) for table in tables(summary, top)},
    }


def _objects(table: Table) -> list[dict[str, object]]:
    *names, count = (name.replace(" ", "_") for name in table.columns)
    return [{**dict(zip(names, key, strict=True)), count: number} for key, number in table.rows]


def _cell(text: str) -> str:
    return quoted(text) if text else "-"


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for *texts, count in lines:
        left = "  ".join(f"{text:{width}}" for text, width in zip(texts, widths, strict=False))
        yield f"{left}  {count:>{widths[-1]}}"
