"""Section 4 of the contract, without a socket: from header fields and body to a request."""

import json

import pytest

from tailsts.credentials import Secret
from tailsts.outcome import (
    ExchangeRequest,
    Malformed,
)
from tailsts.server.wire import bearer_token, exchange_request, too_large

CONTENT_TYPE = Malformed(415, "content_type", "the body must be application/json")
NO_AUTHORIZATION = Malformed(401, "no_authorization", "missing Authorization header")
BAD_AUTHORIZATION = Malformed(401, "bad_authorization", "invalid Authorization header: exactly one, Bearer TOKEN")
TOKEN_TOO_LONG = Malformed(431, "token_too_long", "the token is longer than 16384 bytes")
BODY_TOO_LARGE = Malformed(413, "body_too_large", "the body is larger than 16384 bytes")

BAD_MEMBERS = Malformed(
    400, "bad_shape", 'the body must be {"scopes": [...]}, perhaps with "tags" and "policy", and nothing else'
)
NO_LIST_OF_TAGS = Malformed(400, "bad_shape", "tags must be a list of strings")
BAD_POLICY = Malformed(400, "bad_policy", "policy must be the name of one")
NO_LIST = Malformed(400, "bad_shape", "scopes must be a list of strings")
MISSING = Malformed(400, "missing_scopes", "missing scopes")
TOO_MANY = Malformed(400, "too_many_scopes", "more than 100 scopes")
BAD_SCOPE = Malformed(400, "bad_scope", "each scope must be a scope-token (RFC 6749, section 3.3) without commas")


def bad_json(reason: str) -> Malformed:
    """Return the verdict on a body that is no JSON, or none that all read alike."""
    return Malformed(400, "bad_json", f"the body is {reason}")


def read_headers(
    *authorization: str, content_type: str | None = "application/json", content_length: str | None = "30"
) -> str | Malformed:
    """Return the token in these header fields, or what is wrong with them."""
    read = bearer_token(authorization, content_type, content_length)
    return read.reveal() if isinstance(read, Secret) else read


def read_body(body: bytes) -> tuple[str, ...] | Malformed:
    """Return the scopes that the body asks for, or what is wrong with it. Twice, because the first may be kept."""
    first, second = (exchange_request(Secret("a.b.c"), body) for _ in range(2))
    if isinstance(first, Malformed):
        assert first == second
        return first
    assert isinstance(second, ExchangeRequest)
    assert first.wanted == second.wanted
    assert first.bearer.reveal() == "a.b.c"
    return first.wanted.scopes


def scopes(*values: object) -> bytes:
    """Return a body that asks for these."""
    return json.dumps({"scopes": values}).encode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_h02_the_scheme_in_any_case(scheme: str) -> None:
    """H-02: the token is read from the one Authorization field, whatever the case of its scheme."""
    assert read_headers(f"{scheme} a.b.c") == "a.b.c"


@pytest.mark.parametrize(
    "fields",
    [
        ("Bearer a.b.c", "Bearer a.b.c"),
        ("Bearer a.b.c", "Basic eDp5"),
        ("Basic eDp5", "Bearer a.b.c"),
        ("Basic eDp5",),
        ("a.b.c",),
        ("Bearer",),
        ("Bearer ",),
        ("",),
        (" ",),
        (" Bearer a.b.c",),
        ("Bearer  a.b.c",),
        ("Bearer a.b.c ",),
        ("Bearer a b",),
        ("Bearer\ta.b.c",),
        ("Bearer: a.b.c",),
        ("Bearertoken a.b.c",),
        ("Bea\u017fer a.b.c",),
        ("Bearer a.b.c, Bearer d.e.f",),
    ],
)
def test_h02_not_exactly_one_bearer_token(fields: tuple[str, ...]) -> None:
    """H-02: two fields, two blanks, two tokens or another scheme are 401, and no token is taken from them."""
    assert read_headers(*fields) == BAD_AUTHORIZATION


def test_without_authorization() -> None:
    """A request that brings no token is told so, with 401."""
    assert read_headers() == NO_AUTHORIZATION


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json \t;\tcharset=utf-8 ",
    ],
)
def test_h04_content_types_that_are_json(content_type: str | None) -> None:
    """H-04: JSON in UTF-8 however it is written, or no content type at all."""
    assert read_headers("Bearer a.b.c", content_type=content_type) == "a.b.c"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json5",
        "xapplication/json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; x=y",
        "application/json\n",
    ],
)
def test_h04_content_types_that_are_not(content_type: str) -> None:
    """H-04: a body that says it is something else than JSON is 415."""
    assert read_headers("Bearer a.b.c", content_type=content_type) == CONTENT_TYPE


@pytest.mark.parametrize(
    ("length", "expected"), [(1, "x"), (16 * 1024, "x" * 16 * 1024), (16 * 1024 + 1, TOKEN_TOO_LONG)]
)
def test_j13_the_token_has_a_limit(length: int, expected: str | Malformed) -> None:
    """J-13: a token of up to 16 KiB is looked at, one byte more is 431 before anything else is done."""
    assert read_headers("Bearer " + "x" * length) == expected


@pytest.mark.parametrize("content_length", [None, "0", "16384", "000016384"])
def test_lengths_that_are_read(content_length: str | None) -> None:
    """A body of up to 16 KiB, or one whose length nobody said, is read."""
    assert read_headers("Bearer a.b.c", content_length=content_length) == "a.b.c"


@pytest.mark.parametrize("content_length", ["16385", "1" * 9, "1" * 5000, "-1", "1e3", "", "12, 12", "\u0663"])
def test_h01_lengths_that_are_not(content_length: str) -> None:
    """H-01: a body that says it is larger, or says no number, is 413 before a byte of it is read."""
    assert read_headers("Bearer a.b.c", content_length=content_length) == BODY_TOO_LARGE


def test_a_body_that_turns_out_too_large() -> None:
    """A body that grows beyond its limit while it is read is the same 413."""
    assert too_large() == BODY_TOO_LARGE


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"scopes":["dns:read"]}', ("dns:read",)),
        (b' {"scopes" : [ "dns:read" ] } \r\n', ("dns:read",)),
        (b'{"scop\\u0065s":["dns:\\u0072ead"]}', ("dns:read",)),
        (scopes("b", "a", "b", "a"), ("b", "a")),
        (scopes("dns", "DNS"), ("dns", "DNS")),
        (scopes(*(f"s{number}" for number in range(100))), tuple(f"s{number}" for number in range(100))),
        (scopes("a" * 128), ("a" * 128,)),
        (scopes("a").ljust(16 * 1024), ("a",)),
    ],
)
def test_u03_what_is_asked_for(body: bytes, expected: tuple[str, ...]) -> None:
    """U-03: each scope once, in the order in which they were asked for, with their case."""
    assert read_body(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", bad_json("not JSON")),
        (b"scopes=dns", bad_json("not JSON")),
        (b'{"scopes":["dns"]', bad_json("not JSON")),
        (b'{"scopes":["dns"]}{}', bad_json("followed by other text")),
        (b'{"scopes":["dns"]} x', bad_json("followed by other text")),
        (b'{"scopes":["dns"]}\0', bad_json("followed by other text")),
        (b'{"scopes":["dns"],"scopes":["all"]}', bad_json("JSON with duplicate member names")),
        (b'{"scopes":["dns"],"\\u0073copes":["all"]}', bad_json("JSON with duplicate member names")),
        (b'{"scopes":["a\0b"]}', bad_json("not JSON")),
        (b'{"scopes":["\\ud800"]}', bad_json("not UTF-8")),
        (b'{"\\udfff":1}', bad_json("not UTF-8")),
        (b'{"scopes":["\xff"]}', bad_json("not UTF-8")),
        (b'\xef\xbb\xbf{"scopes":["dns"]}', bad_json("not JSON")),
        ('{"scopes":["dns"]}'.encode("utf-16"), bad_json("not UTF-8")),
        (b'{"scopes":[NaN]}', bad_json("JSON with NaN or infinity")),
        (b'{"scopes":[' + b"1" * 5000 + b"]}", bad_json("JSON with an integer beyond 64 bits")),
        (b'{"scopes":' + b"[" * 8000 + b"]" * 8000 + b"}", bad_json("nested too deep")),
        (b"[" * 16_000, bad_json("nested too deep")),
    ],
)
def test_h03_j11_bodies_that_are_not_json(body: bytes, expected: Malformed) -> None:
    """H-03, J-11: trailing data, duplicate names, NUL, unpaired surrogates and depth are 400, never an exception."""
    assert read_body(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"SCOPES":["dns"]}', BAD_MEMBERS),
        (b'{"scopes":["dns"],"tag":["tag:a"]}', BAD_MEMBERS),
        (b'{"scopes":["dns"],"tags":"tag:a"}', NO_LIST_OF_TAGS),
        (b'{"scopes":["dns"],"tags":null}', NO_LIST_OF_TAGS),
        (b'{"scopes":["dns"],"policy":null}', BAD_POLICY),
        (b'{"scopes":["dns"],"policy":""}', BAD_POLICY),
        (b'{"scopes":["dns"],"policy":["a"]}', BAD_POLICY),
        (b'{"scopes":["dns"],"policy":1}', BAD_POLICY),
        (b'{"scopes":["dns"],"policy":"' + b"x" * 256 + b'"}', BAD_POLICY),
        (b'{"scopes":["dns"],"SCOPES":["all"]}', BAD_MEMBERS),
        (b'{"\xc5\xbfcopes":["dns"]}', BAD_MEMBERS),
        (b'{"scopes":["dns"],"scope":"all"}', BAD_MEMBERS),
        (b'["dns"]', BAD_MEMBERS),
        (b'"dns"', BAD_MEMBERS),
        (b"null", BAD_MEMBERS),
        (b"1", BAD_MEMBERS),
        (b'{"scopes":"dns"}', NO_LIST),
        (b'{"scopes":null}', NO_LIST),
        (b'{"scopes":{"dns":true}}', NO_LIST),
        (b'{"scopes":true}', NO_LIST),
    ],
)
def test_h03_bodies_of_another_shape(body: bytes, expected: Malformed) -> None:
    """H-03: `SCOPES`, further members and other types are 400: nothing is guessed."""
    assert read_body(body) == expected


@pytest.mark.parametrize("body", [b"{}", b'{"scopes":[]}', b'{ "scopes" : [ ] }'])
def test_u04_missing_scopes(body: bytes) -> None:
    """U-04: a request for nothing is 400, since Tailscale would take it for a request for everything."""
    assert read_body(body) == MISSING


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "dns all",
        "dns,all",
        "dns\n",
        "dns\0",
        '"',
        "\\",
        "dn\u015b",
        "\u2028",
        "a" * 129,
        1,
        True,
        None,
        [],
        {},
    ],
)
def test_u03_u04_what_is_no_scope(value: object) -> None:
    """U-03, U-04: one entry that is no scope-token is 400, alone or after a good one."""
    assert read_body(scopes(value)) == BAD_SCOPE
    assert read_body(scopes("dns", value)) == BAD_SCOPE


@pytest.mark.parametrize("count", [101, 2_000, 10_000, 100_000])
def test_u03_too_many_scopes(count: int) -> None:
    """U-03: more than 100 scopes are 400, also if they are all the same, or if there were a hundred thousand."""
    assert read_body(scopes(*(f"s{number}" for number in range(count)))) == TOO_MANY
    assert read_body(scopes(*["dns"] * count)) == TOO_MANY


def test_l01_nothing_shows_the_token_by_accident() -> None:
    """L-01: a request for an exchange that is printed shows its scopes, not its token."""
    request = exchange_request(Secret("header.payload.signature"), scopes("dns"))
    assert repr(request) == "ExchangeRequest(bearer=Secret(***), wanted=Wanted(scopes=('dns',), tags=(), policy=None))"
