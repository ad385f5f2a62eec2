"""JSON of which only one reading is possible."""

import time

import pytest

from tailsts.errors import StrictJsonError
from tailsts.strictjson import MAX_DEPTH, Ambiguous, decode, decode_isolating, is_text


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        (b' \t\r\n{"a":1} \n', {"a": 1}),
        ('"é\\u00e9"'.encode(), "éé"),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b"-123", -123),
        (b"9999999999999999999", 9999999999999999999),
        (b'"' + b"[{" * 100 + b'"', "[{" * 100),
    ],
)
def test_reads_json(raw: bytes, value: object) -> None:
    """What is JSON to every reader is read."""
    assert decode(raw) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1,"a":1}', "JSON with duplicate member names"),
        (b'{"a":{"b":1,"b":2}}', "JSON with duplicate member names"),
        (b'{"a":1,"\\u0061":2}', "JSON with duplicate member names"),
        (b"NaN", "JSON with NaN or infinity"),
        (b"[-Infinity]", "JSON with NaN or infinity"),
        (b"1e400", "JSON with NaN or infinity"),
        (b"1" * 20, "JSON with an integer beyond 64 bits"),
        (b"1" * 5000, "JSON with an integer beyond 64 bits"),
        (b"{} {}", "followed by other text"),
        (b'{"a":1}x', "followed by other text"),
        (b"", "not JSON"),
        (b"{a:1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'"a\nb"', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'"\xff"', "not UTF-8"),
        (b'"\\ud800"', "not UTF-8"),
        (b'{"\\udfff": 1}', "not UTF-8"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deep"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "nested too deep"),
    ],
)
def test_refuses_what_two_readers_read_differently(raw: bytes, reason: str) -> None:
    """J-09, J-11, J-12, J-17: duplicates, other encodings, depth, trailing data and the like are not JSON here."""
    with pytest.raises(StrictJsonError, match=f"^{reason}$") as caught:
        decode(raw)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_depth_is_counted_outside_of_strings_only() -> None:
    """Brackets in strings, escaped quotes among them, do not count; brackets beside each other do not add up."""
    assert decode(b'["' + b'\\"[' * 60 + b'"]') == ['"[' * 60]
    assert decode(b"[" + b"[]," * 60 + b"[]]") == [[]] * 61


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 20_000, '"' + '\\"' * 8000 + "[" * 40, '"\\' + "[" * 40])
def test_hostile_depth_costs_next_to_nothing(text: str) -> None:
    """J-12: hostile nesting is refused in one pass over the text: no recursion, nothing that grows with its square."""
    started = time.process_time()
    with pytest.raises(StrictJsonError):
        decode(text.encode())
    assert time.process_time() - started < 1


def test_isolates_what_is_wrong_with_one_object() -> None:
    """In documents that are read leniently, an ambiguous object costs no other one."""
    value = decode_isolating(b'[{"a":1,"a":2},{"b":1},{"c":"\\ud800"}]')
    assert isinstance(value, list)
    assert isinstance(value[0], Ambiguous)
    assert value[1:] == [{"b": 1}, {"c": "\ud800"}]


def test_isolating_is_strict_about_the_rest() -> None:
    """What is not JSON at all stays an error."""
    with pytest.raises(StrictJsonError, match="not JSON"):
        decode_isolating(b'[{"a":1}')


@pytest.mark.parametrize(
    ("value", "expected"), [("a", True), ("é", True), ("\ud800", False), (1, False), (None, False)]
)
def test_knows_text(value: object, expected: bool) -> None:
    """Text is what can be written as UTF-8."""
    assert is_text(value) is expected
