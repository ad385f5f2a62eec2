"""Laws of the header field `traceparent`."""

from hypothesis import given
from hypothesis import strategies as st

from tailsts.server.traces.traceparent import Parent, parse, render

NEARLY = st.text("0123456789abcdefABCDEF-٤ \n", max_size=80)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_round_trip(trace: int, span: int) -> None:
    """What we pass on is read as what it was."""
    assert parse(render(trace, span)) == Parent(trace, span, sampled=True)


@given(st.text() | NEARLY)
def test_any_text(text: str) -> None:
    """Whatever is sent is read or ignored, and what is read is no id of zeros."""
    parent = parse(text)
    assert parent is None or (0 < parent.trace_id < 2**128 and 0 < parent.span_id < 2**64)
