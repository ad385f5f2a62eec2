"""Base64url as JOSE writes it."""

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
