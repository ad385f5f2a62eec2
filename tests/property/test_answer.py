"""Laws of reading Tailscale's answers: what is passed on is never more than what was asked."""

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from property.strategies import asked_and_answered, json_values, mutated, nearly_json, wanted_scopes
from tailsts.credentials import AccessToken
from tailsts.errors import TailscaleAnswerError
from tailsts.scopes import is_within
from tailsts.tailscale.answer import MAX_EXPIRES_IN, access_token, error_text, seconds_to_wait

tags = st.from_regex(r"tag:[a-c]{1,2}", fullmatch=True)
nearly_tags = tags | st.text("tag:, abT", max_size=6)


def read(body: bytes, asked: tuple[str, ...], asked_tags: tuple[str, ...] = ()) -> AccessToken | str:
    """Return the token in the answer, or why there is none to pass on."""
    try:
        return access_token(body, asked, asked_tags)
    except TailscaleAnswerError as error:
        return str(error)


def check(body: bytes, asked: tuple[str, ...]) -> None:
    """Check that what is passed on may be, and that what is said of the rest is one harmless line."""
    token = read(body, asked)
    if isinstance(token, str):
        assert token.isprintable()
        assert len(token) < 2048
        assert "secret" not in token
        return
    assert token.scopes
    assert all(is_within(scope, frozenset(asked)) for scope in token.scopes)
    assert 0 < token.expires_in <= MAX_EXPIRES_IN
    assert token.reveal().isprintable()
    assert token.reveal().split() == [token.reveal()]


@given(asked_and_answered())
def test_u05_never_wider_than_asked(exchange: tuple[tuple[str, ...], Mapping[str, object]]) -> None:
    """U-05: whatever an answer says, a token is passed on only if it is one and no wider than asked."""
    asked, answer = exchange
    check(json.dumps(answer).encode(), asked)


@given(wanted_scopes, st.data())
def test_u05_exactly_as_asked_is_passed_on(asked: tuple[str, ...], data: st.DataObject) -> None:
    """U-05: an answer that grants what was asked, in any order, is passed on as it is."""
    scope = " ".join(data.draw(st.permutations(asked)))
    good = {"access_token": "tskey-api-x", "token_type": "Bearer", "expires_in": 3600, "scope": scope}
    token = read(json.dumps(good).encode(), asked)
    assert isinstance(token, AccessToken)
    assert (token.reveal(), " ".join(token.scopes), token.expires_in) == ("tskey-api-x", scope, 3600)


@given(st.lists(tags, max_size=3, unique=True).map(tuple), st.none() | st.lists(nearly_tags, max_size=4))
def test_u05_tags_never_wider_than_asked(asked: tuple[str, ...], said: list[str] | None) -> None:
    """U-05: a token is passed on exactly if its answer names no tag beyond those that were asked for, if any were."""
    text = None if said is None else " ".join(said)
    good = {"access_token": "tskey-api-x", "token_type": "Bearer", "expires_in": 3600, "scope": "dns", "tags": text}
    token = read(json.dumps(good).encode(), ("dns",), asked)
    named = set((text or "").split())
    if asked and not named <= set(asked):
        assert isinstance(token, str)
        assert token.isprintable()
    else:
        assert isinstance(token, AccessToken)
        assert (set(token.tags), len(token.tags)) == (named, len(named))


@given(asked_and_answered(), st.data())
def test_u05_any_bytes(exchange: tuple[tuple[str, ...], Mapping[str, object]], data: st.DataObject) -> None:
    """U-05: any bytes are a token that may be passed on, or a fault said in one line; nothing else is raised."""
    asked, answer = exchange
    check(data.draw(mutated(st.just(json.dumps(answer).encode())) | nearly_json), asked)


@given(nearly_json | json_values.map(lambda value: json.dumps({"message": value, "error": value}).encode()))
def test_u06_any_error_is_one_line(body: bytes) -> None:
    """U-06: what an error answer says is one short line, whatever it is."""
    text = error_text(body)
    assert text
    assert text.isprintable()


@given(st.none() | st.text() | st.integers().map(str))
def test_u06_any_wait_is_bearable(field: str | None) -> None:
    """U-06: whatever Retry-After says, the wait is 1 to 300 seconds."""
    assert 1 <= seconds_to_wait(field) <= 300
