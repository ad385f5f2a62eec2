"""Laws of the JWKS normaliser: patient with the set, strict with each key."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from property.strategies import GOOD_KEYS, json_values, key_set_members, mutated, nearly_json, spoilt_keys
from tailsts.errors import KeySetError
from tailsts.oidc.keys import KeySet, normalise

ALGORITHMS = {
    "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    "EC": {"ES256", "ES384", "ES512"},
    "OKP": {"EdDSA"},
}
GOOD = json.dumps({"keys": GOOD_KEYS}).encode()
GOOD_ALGORITHMS = {
    "good-RS256": ALGORITHMS["RSA"],
    "good-ES256": {"ES256"},
    "good-ES384": {"ES384"},
    "good-EdDSA": {"EdDSA"},
}
member_lists = st.lists(key_set_members, max_size=6)


def document(members: Sequence[object]) -> bytes:
    """Return a key set document of these members, which may hold what UTF-8 cannot write, escaped."""
    return json.dumps({"keys": members}).encode()


@given(nearly_json | json_values.map(lambda value: json.dumps(value).encode()) | mutated(st.just(GOOD)))
def test_any_bytes_are_a_key_set_or_none(raw: bytes) -> None:
    """Any bytes are a key set or a KeySetError; nothing else is raised."""
    try:
        keys = normalise(raw)
    except KeySetError:
        return
    assert isinstance(keys, KeySet)


@given(json_values, json_values)
def test_any_json_under_keys(value: object, other: object) -> None:
    """Any JSON in the place of the keys is a key set or a KeySetError; nothing else is raised."""
    raw = json.dumps({"keys": value, "other": other}).encode()
    try:
        keys = normalise(raw)
    except KeySetError:
        assert not isinstance(value, list)
    else:
        assert isinstance(value, list)
        assert len(keys.dropped) == len(value)


@given(member_lists, st.data())
def test_k12_no_bad_member_costs_a_good_key(members: list[object], data: st.DataObject) -> None:
    """K-12: whatever stands beside them, and in whatever order, keys with ids of their own stay as they are."""
    together = data.draw(st.permutations([*GOOD_KEYS, *members]))
    keys = normalise(document(together))
    assert {name: set(keys.by_id[name].algorithms) for name in GOOD_ALGORITHMS} == GOOD_ALGORITHMS
    assert all(keys.by_id[name].key.as_dict() == normalise(GOOD).by_id[name].key.as_dict() for name in GOOD_ALGORITHMS)


@pytest.mark.parametrize("number", [b"10000000000000000000", b"-1e400", b"1" * 5000])
@pytest.mark.parametrize("member", [b"%s", b'{"kty":"RSA","kid":"bad","e":"AQAB","n":%s}'])
def test_k12_no_number_costs_a_good_key(number: bytes, member: bytes) -> None:
    """K-12: a number that not all readers read alike is that key's fault alone: RSA keys written in digits exist."""
    keys = normalise(GOOD.replace(b"[", b"[" + member % number + b",", 1))
    assert list(keys.by_id) == list(GOOD_ALGORITHMS)
    assert [dropped.position for dropped in keys.dropped] == [0]


@given(st.sampled_from(GOOD_KEYS), spoilt_keys(), st.booleans())
def test_k04_a_shared_id_is_nobodys(good: dict[str, object], other: dict[str, object], first: bool) -> None:
    """K-04: of usable keys with one id none is used, in either order; one that is unusable anyway costs nothing."""
    twin = {**other, "kid": good["kid"]}
    alone = len(normalise(document([twin])))
    keys = normalise(document([twin, good] if first else [good, twin]))
    assert len(keys) == 1 - alone
    assert len(keys.dropped) == 1 + alone


@given(member_lists)
def test_every_member_is_used_or_dropped(members: list[object]) -> None:
    """Each member is a key that can be used, or is dropped with its place, a short id and a reason of ours."""
    keys = normalise(document(members))
    assert len(keys) + len(keys.dropped) == len(members)
    assert len({dropped.position for dropped in keys.dropped}) == len(keys.dropped)
    for dropped in keys.dropped:
        assert 0 <= dropped.position < len(members)
        assert dropped.key_id is None or len(dropped.key_id) <= 64
        assert dropped.reason.isascii()
        assert len(dropped.reason) < 100


@given(member_lists)
def test_k10_a_key_is_for_the_algorithms_of_its_type(members: list[object]) -> None:
    """K-06, K-10: what is used is a public key, for algorithms of its type, or for the one that it names."""
    keys = normalise(document(members))
    for found in (*keys.by_id.values(), *keys.without_id):
        assert found.key.is_private is False
        assert found.algorithms
        assert found.algorithms <= ALGORITHMS[found.key.key_type]
        named = found.key.as_dict().get("alg")
        assert named is None or found.algorithms == {named}
