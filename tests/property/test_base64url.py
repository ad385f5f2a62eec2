"""Laws of base64url: one spelling for each value."""

from hypothesis import assume, given
from hypothesis import strategies as st

from fakes.issuer import b64
from property.strategies import base64url_texts, changed
from tailsts.oidc import base64url


@given(st.binary(max_size=200))
def test_whatever_is_written_is_read_again(raw: bytes) -> None:
    """Any bytes come back as they were."""
    assert base64url.decode(b64(raw).encode()) == raw
    assert base64url.decode_checked(b64(raw).encode()) == raw


def decoded(segment: bytes) -> bytes | str:
    """Return the bytes that the segment spells, or what is wrong with it."""
    try:
        return base64url.decode(segment)
    except ValueError as error:
        return str(error)


@given(base64url_texts.map(str.encode) | st.binary(max_size=40))
def test_j14_one_spelling(segment: bytes) -> None:
    """J-14: what is decoded is exactly what one would have written; everything else is a ValueError."""
    raw = decoded(segment)
    if isinstance(raw, str):
        assert raw in {"not base64url", "not canonical base64url"}
    else:
        assert b64(raw).encode() == segment


@given(st.data(), st.binary(min_size=1, max_size=60))
def test_j14_no_two_spellings_of_one_value(data: st.DataObject, raw: bytes) -> None:
    """J-14: another text is another value, or none."""
    text = b64(raw)
    other = data.draw(changed(text)).encode("utf-8", "surrogatepass")
    assume(other != text.encode())
    assert decoded(other) != raw
