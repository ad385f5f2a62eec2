"""Laws of the strict reader: one reading, or none."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from property.strategies import json_values, mutated, nearly_json, spellings, with_duplicate_names
from tailsts.errors import StrictJsonError
from tailsts.strictjson import _STRICT, MAX_DEPTH, _decode, decode, decode_isolating


def told(value: object) -> str:
    """Return the value so that values which Python takes for equal (1, 1.0, True) are told apart."""
    return repr(value)


@given(spellings())
def test_whatever_is_written_is_read_again(spelt: tuple[Any, bytes]) -> None:
    """Every JSON value comes back as it was, however it is spelt, from both readers."""
    value, raw = spelt
    assert told(decode(raw)) == told(value)
    assert told(decode_isolating(raw)) == told(value)


@given(with_duplicate_names())
@example(b'{"a":1,"a":1}')
@example(b'{"a":{"b":1,"b":1}}')
@example(b'{"a":1,"\\u0061":1}')
def test_j09_duplicate_names_are_refused(raw: bytes) -> None:
    """J-09: an object with one name twice, however deep and however spelt, is refused."""
    with pytest.raises(StrictJsonError, match=r"^JSON with duplicate member names$"):
        decode(raw)


REASONS = {
    "not JSON",
    "not UTF-8",
    "followed by other text",
    "JSON with duplicate member names",
    "JSON with NaN or infinity",
    "JSON with an integer beyond 64 bits",
    "nested too deep",
}


def fault(read: Callable[[bytes], object], raw: bytes) -> str | None:
    """Return what is wrong with `raw`, or None if it can be read."""
    try:
        read(raw)
    except StrictJsonError as error:
        return str(error)
    return None


@given(nearly_json | mutated(spellings().map(lambda spelt: spelt[1])))
def test_nothing_but_its_own_error_is_raised(raw: bytes) -> None:
    """Any bytes are a value or a StrictJsonError, whose message is one of ours and quotes nothing."""
    assert {fault(decode, raw), fault(decode_isolating, raw)} <= {*REASONS, None}


compact = json_values.map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@given(compact | mutated(compact) | nearly_json)
@example(b'{"a":1e5}')
@example(b'{"a":-0}')
@example(b'{"a":-0.0}')
@example(b'{"a":1.0}')
@example(b'{"a":999999999999999999}')
@example(b'{"a":1000000000000000000}')
@example(b'{"a":18446744073709551616}')
@example(b'{"a":[{"b":{"c":1}}]}')
@example('{"é":"\u2028"}'.encode())
@example(b'{"a":"\x7f"}')
def test_the_fast_way_and_the_long_way_read_the_same(raw: bytes) -> None:
    """What the fast way reads, the long way with all of its checks reads too, to the very same value."""
    try:
        value = decode(raw)
    except StrictJsonError:
        with pytest.raises(StrictJsonError):
            _decode(raw, _STRICT)
    else:
        assert told(_decode(raw, _STRICT)) == told(value)


levels_of_nesting = st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'["]}",', b"]"), (b'{"\\"[":', b"}")])


@given(st.lists(levels_of_nesting, min_size=30, max_size=35) | st.lists(levels_of_nesting, max_size=80))
def test_j12_the_depth_has_one_bound(levels: list[tuple[bytes, bytes]]) -> None:
    """J-12: 32 levels are read and 33 are not, whatever they are made of."""
    raw = b"".join(left for left, _ in levels) + b"1" + b"".join(right for _, right in reversed(levels))
    refused = pytest.raises(StrictJsonError, match=r"^nested too deep$")
    with refused if len(levels) > MAX_DEPTH else contextlib.nullcontext():
        decode(raw)
