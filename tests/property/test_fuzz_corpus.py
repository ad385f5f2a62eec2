"""The inputs that fuzzing kept, each through its target, without a fuzzer: what was found once stays mended."""

from collections.abc import Callable

import pytest

from fakes.pages import ROOT
from fuzz import jwks, policy, token, wire
from fuzz.run import MAX_KEPT_LENGTH, TARGETS
from tailsts.errors import KeySetError
from tailsts.oidc.keys import normalise
from tailsts.oidc.token import UnverifiedToken, decode

CHECKS: dict[str, Callable[[bytes], None]] = {
    "token": token.check,
    "jwks": jwks.check,
    "wire": wire.check,
    "policy": policy.check,
}


def corpus(target: str) -> dict[str, bytes]:
    """Return the kept inputs of a target, by name."""
    return {path.name: path.read_bytes() for path in sorted((ROOT / "fuzz" / "corpus" / target).iterdir())}


def is_token(data: bytes) -> bool:
    """Return whether the decoder accepts the input."""
    return isinstance(decode(token.compact(data)), UnverifiedToken)


def is_key_set(data: bytes) -> bool:
    """Return whether the input is a key set with a key in it."""
    try:
        return len(normalise(data)) > 0
    except KeySetError:
        return False


def is_policy(data: bytes) -> bool:
    """Return whether the input is a policy."""
    return policy.load(data).generation is not None


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target: str) -> None:
    """Every input that was kept keeps every promise of its target."""
    for name, data in corpus(target).items():
        try:
            CHECKS[target](data)
        except Exception as error:
            error.add_note(f"fuzz/corpus/{target}/{name}")
            raise


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_stays_small(target: str) -> None:
    """Inputs are short, and so few that they are run with each change."""
    kept = corpus(target)
    assert 10 <= len(kept) <= 400
    assert max(map(len, kept.values())) <= MAX_KEPT_LENGTH


@pytest.mark.parametrize(
    ("target", "accepts"), [("token", is_token), ("jwks", is_key_set), ("wire", wire.is_request), ("policy", is_policy)]
)
def test_the_corpus_is_of_both_kinds(target: str, accepts: Callable[[bytes], bool]) -> None:
    """Some of the inputs are accepted and some are refused: what must hold of each is really asked."""
    verdicts = [accepts(data) for data in corpus(target).values()]
    assert min(verdicts.count(True), verdicts.count(False)) >= 5
