"""Answers that are broken off, lie about their length, dawdle or are none, made of a body that would be good."""

from fakes.http import Drip, Raw, Reply, http

_START = b"HTTP/1.1 200 OK\r\n"
# So long is an answer of some hundred bytes under way, a fraction of what is waited for.
_DAWDLE = 0.004


def _chunked(*chunks: bytes) -> bytes:
    return _START + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def _chunk(data: bytes, length: int | None = None) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data) if length is None else length, data)


def _of_length(length: bytes, body: bytes) -> bytes:
    return _START + b"Content-Length: " + length + b"\r\n\r\n" + body


def spoilt(body: bytes) -> dict[str, Reply]:
    """Return answers of which none is whole, by what is wrong with each; all of them end."""
    size = len(body)
    longer, shorter = b"%d" % (size + 100), b"%d" % (size - 5)
    half = body[: size // 2]
    return {
        "reset in the body": Raw(_of_length(b"%d" % size, half), then="reset"),
        "ends in the body": Raw(_of_length(b"%d" % size, half), then="close"),
        "says more than there is": Raw(_of_length(longer, body), then="close"),
        "says more, and resets": Raw(_of_length(longer, body), then="reset"),
        "says less than there is": Raw(_of_length(shorter, body)),
        "says two lengths": Raw(
            _START + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n%b" % (size, size - 5, body), then="close"
        ),
        "a negative length": Raw(_of_length(b"-1", body), then="close"),
        "a length beyond all bounds": Raw(_of_length(b"9" * 30, body), then="close"),
        "no last chunk": Raw(_chunked(_chunk(half), _chunk(body[len(half) :])), then="close"),
        "a chunk that says more": Raw(_chunked(_chunk(body, size + 5), b"0\r\n\r\n"), then="close"),
        "a chunk that says less": Raw(_chunked(_chunk(body, size - 5), b"0\r\n\r\n"), then="close"),
        "reset between chunks": Raw(_chunked(_chunk(half)), then="reset"),
        "garbage for HTTP": Raw(b"\x00\xff\x16\x03garbage\r\n\r\n" + body, then="close"),
        "garbage for a body": http(200, bytes(255 - byte for byte in body)),
        "another protocol": Raw(b"220 mail.example.com ESMTP\r\n", then="close"),
        "half a head": Raw(_START + b"Content-Le", then="close"),
        "byte by byte, and ends": Drip(_of_length(b"%d" % size, half), _DAWDLE),
    }


def odd(body: bytes) -> dict[str, Reply]:
    """Return answers that are whole, and not as one is used to."""
    size = len(body)
    return {
        "byte by byte": Drip(_of_length(b"%d" % size, body), _DAWDLE),
        "a chunk for each byte": Raw(_chunked(*(_chunk(bytes([byte])) for byte in body), b"0\r\n\r\n")),
        "ends where it says no length": Raw(_START + b"\r\n" + body, then="close"),
        "something informal first": Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + _of_length(b"%d" % size, body)),
    }
