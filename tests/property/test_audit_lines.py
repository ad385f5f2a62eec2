"""Laws of reading an audit log: nothing stops it, and nothing of it reaches a terminal as more than text."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tailsts.auditing.entries import Logged, Unread, read_line
from tailsts.auditing.rendering import entry_line, summary_lines
from tailsts.auditing.summary import Summary

TEXTS = st.text(max_size=30) | st.sampled_from(["\x1b]0;x\x07", "\x9b2J", "\x7f", "\u202e", "\u2028"])
ENTRIES = st.fixed_dictionaries(
    {
        "event": st.just("exchange"),
        "time": st.just("2026-11-24T18:00:00.123Z"),
        "decision": TEXTS,
        "outcome": TEXTS,
        "reason": TEXTS,
    },
    optional={
        "verified": st.booleans(),
        "issuer": TEXTS,
        "subject": TEXTS,
        "policy": TEXTS,
        "requested_scopes": st.lists(TEXTS, max_size=3),
        "claims": st.dictionaries(TEXTS, TEXTS, max_size=3),
    },
)


@given(st.binary(max_size=200))
def test_any_bytes_are_read(line: bytes) -> None:
    """Whatever a line holds, it is an entry, something else, or broken."""
    assert isinstance(read_line(line), Logged | Unread)


@given(ENTRIES, st.booleans())
def test_what_is_shown_is_printable(value: dict[str, object], as_ascii: bool) -> None:
    """Line, summary and JSON are printable ASCII in one line each, and the JSON says what the log says."""
    line = json.dumps(value, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")
    found = read_line(line)
    if isinstance(found, Logged):
        summary = Summary()
        summary.add(found.entry)
        for text in (entry_line(found.entry), found.json.decode(), *summary_lines(summary, 5)):
            assert text.isascii()
            assert text.isprintable()
        assert json.loads(found.json) == json.loads(line)
    else:
        # Half of a pair of surrogates is no text.
        assert found is Unread.BROKEN
        assert "\\ud" in json.dumps(value)
