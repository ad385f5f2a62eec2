"""What a request is read as: a token and what is wanted, or what is wrong with it, in words of ours."""

import json

from tailsts.credentials import Secret
from tailsts.oidc.token import MAX_TOKEN_LENGTH
from tailsts.outcome import Decision, ExchangeRequest, Malformed
from tailsts.policy.asked import MAX_POLICY_LENGTH, MAX_SCOPES, MAX_TAGS
from tailsts.scopes import is_scope_token, is_tag
from tailsts.server.wire import answer, bearer_token, exchange_request

MODULES = ["tailsts.server.wire", "tailsts.policy.asked", "tailsts.scopes", "tailsts.strictjson"]
WORDS = (
    *(
        "authorization: ",
        "content-type: ",
        "content-length: ",
        "Bearer ",
        "bEARER ",
        "application/json",
        ";charset=utf-8",
    ),
    *(
        "\n\n",
        "0016385",
        "16384",
        '{"scopes":[',
        '"tags":[',
        '"policy":"p"',
        '"tag:ci"',
        '"dns:read"',
        '"all"',
        '"scopes":',
    ),
    *(
        '""',
        '" "',
        '"a,b"',
        '"a b"',
        r"\u0020",
        r"\ud800",
        r"\n",
        "\x7f",
        "\x85",
        "[[",
        "]]",
        "null",
        "NaN",
        "1e999",
        "{}",
    ),
)
# An input is the header fields, each in a line of its own with its name, and after an empty line the body.
AUTHORIZATION, CONTENT_TYPE, CONTENT_LENGTH = "authorization: ", "content-type: ", "content-length: "
STATUSES = frozenset({400, 401, 413, 415, 431})


def check(data: bytes) -> None:
    """Check one input."""
    authorization, bearer, body = _read(data)
    if isinstance(bearer, Malformed):
        _check_malformed(bearer)
        bearer = Secret("x")
    else:
        _check_bearer(bearer, authorization)
    request = exchange_request(bearer, body)
    assert request == exchange_request(bearer, body)
    if isinstance(request, Malformed):
        _check_malformed(request)
        assert request.status == 400
    else:
        _check_request(request, body)


def is_request(data: bytes) -> bool:
    """Return whether the input is a request, header fields and body."""
    _, bearer, body = _read(data)
    return isinstance(bearer, Secret) and isinstance(exchange_request(bearer, body), ExchangeRequest)


def _read(data: bytes) -> tuple[list[str], Secret | Malformed, bytes]:
    head, _, body = data.partition(b"\n\n")
    lines = head.decode("latin-1").split("\n")
    authorization = [line.removeprefix(AUTHORIZATION) for line in lines if line.startswith(AUTHORIZATION)]
    return authorization, bearer_token(authorization, _only(lines, CONTENT_TYPE), _only(lines, CONTENT_LENGTH)), body


def _only(lines: list[str], name: str) -> str | None:
    """Return what the adapter to the HTTP server passes on: nothing, the only value, or "" for several."""
    values = [line.removeprefix(name) for line in lines if line.startswith(name)]
    return None if not values else values[0] if len(values) == 1 else ""


def _check_bearer(bearer: Secret, authorization: list[str]) -> None:
    (field,) = authorization
    token = bearer.reveal()
    assert field.lower() == f"bearer {token}".lower()
    assert field.endswith(f" {token}")
    assert 0 < len(token) <= MAX_TOKEN_LENGTH
    assert repr(bearer) == repr(Secret("another"))


def _check_malformed(malformed: Malformed) -> None:
    """Check what the caller and the log get to see: nothing that the caller wrote."""
    assert malformed.status in STATUSES
    assert malformed.message.isascii()
    assert malformed.message.isprintable()
    assert len(malformed.message) < 100
    shown = answer(Decision("0123456789abcdef", malformed))
    assert shown.text == f"{malformed.message} (decision 0123456789abcdef)\n"
    assert shown.status == malformed.status


def _check_request(request: ExchangeRequest, body: bytes) -> None:
    """Check what is wanted, and that another reader of the body sees the same."""
    wanted = request.wanted
    said = json.loads(body)
    assert said.keys() <= {"scopes", "tags", "policy"}
    assert wanted.scopes == tuple(dict.fromkeys(said["scopes"]))
    assert wanted.tags == tuple(dict.fromkeys(said.get("tags", [])))
    assert wanted.policy == said.get("policy")
    assert 1 <= len(wanted.scopes) <= MAX_SCOPES
    assert len(wanted.tags) <= MAX_TAGS
    assert all(is_scope_token(scope) and scope.isascii() and not {*' ,"\\\n'} & {*scope} for scope in wanted.scopes)
    assert all(is_tag(tag) and tag.startswith("tag:") for tag in wanted.tags)
    assert wanted.policy is None or 0 < len(wanted.policy) <= MAX_POLICY_LENGTH
