"""Laws of tokens: any text is judged, and what was changed after it was signed is never believed."""

import json

from hypothesis import assume, given
from hypothesis import strategies as st

from fakes.issuer import Issuer
from property.strategies import (
    GOOD_CLAIMS,
    GOOD_HEADER,
    GOOD_TOKENS,
    NEAR_MISSES,
    NOW,
    changed,
    signed,
    signed_tokens,
    token_texts,
)
from tailsts.oidc.keys import normalise
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import ALGORITHMS, MAX_ISSUER_LENGTH, MAX_KEY_ID_LENGTH, UnverifiedToken, decode
from tailsts.oidc.verify import LEEWAY, VerifiedToken, verify

KEYS = {
    algorithm: normalise(json.dumps(Issuer("https://issuer.example.com", algorithm).jwks()).encode())
    for algorithm in GOOD_TOKENS
}


def judged(text: str, algorithm: str, now: float = NOW) -> VerifiedToken | Rejected:
    """Decode and verify."""
    token = decode(text)
    return token if isinstance(token, Rejected) else verify(token, KEYS[algorithm], ALGORITHMS, now)


@given(token_texts)
def test_any_text_is_judged(text: str) -> None:
    """Any text is a well-formed token or rejected in words of ours; nothing is raised."""
    outcome = decode(text)
    if isinstance(outcome, Rejected):
        assert outcome.detail.isascii()
        assert len(outcome.detail) < 60
    else:
        assert outcome.algorithm in ALGORITHMS
        assert outcome.key_id is None or 0 < len(outcome.key_id) <= MAX_KEY_ID_LENGTH
        assert 0 < len(outcome.unverified_issuer) <= MAX_ISSUER_LENGTH
        assert text.encode().startswith(outcome.signing_input + b".")


@given(token_texts)
def test_what_nobody_signed_is_never_believed(text: str) -> None:
    """Any text, whatever it claims, is rejected under keys that did not sign it; nothing is raised."""
    assert all(isinstance(judged(text, algorithm), Rejected) for algorithm in GOOD_TOKENS)


@given(st.sampled_from(sorted(GOOD_TOKENS)), st.data())
def test_what_was_changed_is_never_believed(algorithm: str, data: st.DataObject) -> None:
    """A good token with any one character of any part changed, dropped, put in or moved is rejected."""
    good = GOOD_TOKENS[algorithm]
    assert isinstance(judged(good, algorithm), VerifiedToken)
    text = data.draw(changed(good))
    assume(text != good)
    assert isinstance(judged(text, algorithm), Rejected)


@given(st.sampled_from(sorted(GOOD_TOKENS)), st.sampled_from(sorted(GOOD_TOKENS)), st.permutations(range(3)), st.data())
def test_parts_of_several_tokens_are_no_token(one: str, other: str, order: list[int], data: st.DataObject) -> None:
    """Parts of good tokens put together anew are rejected, unless it is the same token again."""
    parts = [data.draw(st.sampled_from([GOOD_TOKENS[one], GOOD_TOKENS[other]])).split(".")[at] for at in order]
    text = ".".join(parts)
    assume(text not in GOOD_TOKENS.values())
    assert isinstance(judged(text, one), Rejected)
    assert isinstance(judged(text, other), Rejected)


def check_what_is_believed(said: dict[str, object], text: str) -> None:
    """Check that a token over these claims is believed only if each of them is what it must be."""
    verdict = judged(text, "EdDSA")
    if isinstance(verdict, Rejected):
        return
    assert (verdict.issuer, verdict.subject, verdict.claims) == (said["iss"], said["sub"], said)
    for name in ("iss", "sub"):
        assert isinstance(said[name], str)
        assert said[name]
    for name in ("exp", "iat", "nbf"):
        assert name not in said or type(said[name]) in {int, float}
    assert said["exp"] == verdict.expires_at > NOW - LEEWAY
    assert said.get("iat") == verdict.issued_at
    assert all(float(str(said[name])) <= NOW + LEEWAY for name in ("iat", "nbf") if name in said)
    audiences = said.get("aud", [])
    assert all(isinstance(audience, str) for audience in verdict.audiences)
    assert list(verdict.audiences) == ([audiences] if isinstance(audiences, str) else audiences)
    assert "SUB" not in said


@given(signed_tokens())
def test_whatever_an_issuer_signs_is_judged(signed_token: tuple[dict[str, object], str]) -> None:
    """Claims of any type and value, well signed, are believed where each is what it must be; nothing is raised."""
    check_what_is_believed(*signed_token)


def test_a_hair_decides() -> None:
    """Good claims of which one is right or wrong by a hair are believed exactly where it is right."""
    believed: dict[str, list[object]] = {}
    for name, value in NEAR_MISSES:
        said = {**GOOD_CLAIMS, name: value}
        text = signed(GOOD_HEADER, said)
        check_what_is_believed(said, text)
        if isinstance(judged(text, "EdDSA"), VerifiedToken):
            believed.setdefault(name, []).append(value)
    assert believed == {
        "iss": ["x"],
        "sub": ["x", "x" * 600],
        "aud": ["a", "", [], ["a"], ["a", "b"]],
        "exp": [1e300, NOW + 60, NOW + 61, NOW + 0.5],
        "iat": [-1, 0, NOW - 60, NOW + 60, NOW + 0.5],
        "nbf": [-1, 0, NOW - 60, NOW + 60, NOW + 0.5],
    }


@given(st.floats(0, 2 * NOW) | st.integers(NOW - 120, NOW + 420))
def test_j05_a_token_has_its_time(now: float) -> None:
    """J-05: a good token is believed from a minute before it was made to a minute after it expires, and never else."""
    verdict = judged(GOOD_TOKENS["EdDSA"], "EdDSA", now)
    assert isinstance(verdict, VerifiedToken) is (NOW - 60 <= now < NOW + 360)


@given(token_texts)
def test_decoding_is_repeatable(text: str) -> None:
    """What a text is decoded to does not depend on what was decoded before."""
    first, second = decode(text), decode(text)
    assert isinstance(first, UnverifiedToken) is isinstance(second, UnverifiedToken)
    assert first == second
