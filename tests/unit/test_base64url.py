"""Base64url as JOSE writes it."""

import base64

import pytest

from tailsts.oidc import base64url


@pytest.mark.parametrize(("text", "raw"), [(b"", b""), (b"_-8", b"\xff\xef"), (b"AAAA", b"\0\0\0"), (b"QQ", b"A")])
def test_decodes(text: bytes, raw: bytes) -> None:
    """Canonical base64url is decoded."""
    assert base64url.decode(text) == raw


@pytest.mark.parametrize("text", [b"Q", b"QR", b"QUF", b"QQ==", b"Q Q", b"Q+Q/", b"QQ\n", b"\xff\xff", b"AAAAA"])
def test_refuses_other_spellings(text: bytes) -> None:
    """Padding, other alphabets, white space and stray bits are refused."""
    with pytest.raises(ValueError, match=r"not .*base64url"):
        base64url.decode(text)


def decodes(segment: bytes) -> bool:
    """Return whether the segment is decoded."""
    try:
        base64url.decode(segment)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_last_character(length: int) -> None:
    """A segment ends in each character that leaves no stray bits, and in no other; a single one is none."""
    ends = (bytes([*bytes(max(0, length - 2)), value]) for value in range(256))
    spelled = {base64.urlsafe_b64encode(raw).rstrip(b"=")[-1] for raw in ends} if length > 1 else set()
    assert {last for last in range(256) if decodes(b"A" * (length - 1) + bytes([last]))} == spelled
