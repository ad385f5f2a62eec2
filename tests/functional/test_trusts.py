"""Which keys count for whom: several issuers, clusters that share a name, and key sets with bad keys in them."""

import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, RSAKey

from fakes.http import http
from fakes.issuer import FakeIssuer, Issuer, b64, jwk, key_pair, sign, sign_with_hmac
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale

CLUSTER = "https://kubernetes.default.svc"


@dataclass(frozen=True)
class Trusts:
    """A service with policies for two issuers whose keys have one id, and for two clusters of one name."""

    service: Service
    tailscale: FakeTailscale
    one: FakeIssuer
    other: FakeIssuer


def signed(issuer: str, number: int, **claims: object) -> str:
    """Return a token of `issuer` under the key id that all share, signed by the key of that number."""
    source = Issuer(issuer)
    header = source.header(kid="shared")
    return sign(header, json.dumps(source.claims(**claims)).encode(), key_pair("RS256", number))


def publishing(issuer: FakeIssuer, *keys: dict[str, object]) -> None:
    """Let the issuer publish these keys."""
    issuer.trouble = http(200, json.dumps({"keys": keys}).encode())


@pytest.fixture(scope="module")
def trusts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusts]:
    """Return the service; no test here changes it."""
    with ExitStack() as stack:
        one, other = stack.enter_context(FakeIssuer()), stack.enter_context(FakeIssuer())
        tailscale = stack.enter_context(FakeTailscale())
        for number, issuer in enumerate((one, other)):
            publishing(issuer, jwk(key_pair("RS256", number), "shared", alg="RS256"))
        policies = {
            "one": policy(one.url),
            "other": policy(other.url),
            "blue": policy(CLUSTER, jwks_url=one.jwks_url, allowed_scopes=["dns:read"]),
            "green": policy(CLUSTER, jwks_url=other.jwks_url, allowed_scopes=["policy_file"]),
        }
        service = stack.enter_context(Service(tmp_path_factory.mktemp("trusts"), policies, tailscale))
        service.wait_for_keys()
        yield Trusts(service, tailscale, one, other)


@pytest.mark.parametrize(("key", "statuses"), [(0, (200, 401)), (1, (401, 200)), (2, (401, 401))])
def test_k03_one_key_id_in_two_issuers(trusts: Trusts, key: int, statuses: tuple[int, int]) -> None:
    """K-03: a key counts for the issuer that published it, though another one's key has the same id."""
    answers = [trusts.service.exchange(signed(issuer.url, key)) for issuer in (trusts.one, trusts.other)]
    assert tuple(answer.status for answer in answers) == statuses
    reasons = [trusts.service.event_of(answer)["reason"] for answer in answers]
    assert reasons == ["granted" if status == 200 else "bad_signature" for status in statuses]


@pytest.mark.parametrize(
    ("key", "scope", "status", "policy_name"),
    [
        (0, "dns:read", 200, "blue"),
        (0, "policy_file", 403, "blue"),
        (1, "policy_file", 200, "green"),
        (1, "dns:read", 403, "green"),
        (2, "dns:read", 401, None),
    ],
)
def test_i10_two_clusters_of_one_name(
    trusts: Trusts, key: int, scope: str, status: int, policy_name: str | None
) -> None:
    """I-10: where two clusters share an issuer string, a policy counts only under the keys that it names."""
    answer = trusts.service.exchange(signed(CLUSTER, key), [scope])
    assert answer.status == status
    assert trusts.service.event_of(answer).get("policy") == policy_name


def test_the_first_policy_by_name_wins(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """Of several policies the first by name that allows the whole request counts; their rights are never added up."""
    policies = {
        "c": policy(issuer.url, allowed_scopes=["dns:read", "users:read"]),
        "a": policy(issuer.url, allowed_scopes=["dns:read"], subject=None, any_subject=True),
        "b": policy(issuer.url, allowed_scopes=["dns:read", "policy_file"]),
    }
    with Service(tmp_path, policies, tailscale) as service:
        service.wait_for_keys()
        outcomes = []
        for scopes in (["dns:read"], ["policy_file"], ["users:read", "dns:read"], ["users:read", "policy_file"]):
            answer = service.exchange(issuer.token(), scopes)
            outcomes.append((answer.status, service.event_of(answer)["policy"]))
    assert outcomes == [(200, "a"), (200, "b"), (200, "c"), (403, "a")]


def private(key: Key, key_id: str) -> dict[str, object]:
    """Return a key pair as JWK with its private half."""
    return {**key.as_dict(private=True), "kid": key_id}


def weak() -> Key:
    """Return an RSA key of 1024 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return RSAKey.generate_key(1024)


@dataclass(frozen=True)
class BadKey:
    """A key that must not be used: how it is published, and what signs with it."""

    published: dict[str, object]
    algorithm: str
    key: Key


def bad_keys() -> dict[str, BadKey]:
    """Return keys that must not be used, by key id."""
    rsa, curve, weak_key = key_pair("RS256", 5), key_pair("ES256", 5), weak()
    other_curve = ECKey.generate_key("secp256k1")
    return {
        "enc": BadKey(jwk(rsa, "enc", use="enc"), "RS256", rsa),
        "ops": BadKey(jwk(rsa, "ops", key_ops=["encrypt"]), "RS256", rsa),
        "private": BadKey(private(rsa, "private"), "RS256", rsa),
        "weak": BadKey(jwk(weak_key, "weak"), "RS256", weak_key),
        "curve": BadKey(jwk(other_curve, "curve"), "ES256", curve),
        "off the curve": BadKey({**jwk(curve, "off the curve"), "y": b64(bytes(31) + b"\1")}, "ES256", curve),
        "other alg": BadKey(jwk(rsa, "other alg", alg="RS512"), "RS256", rsa),
        "other type": BadKey(jwk(curve, "other type"), "RS256", rsa),
        "malformed": BadKey({"kty": "zz", "kid": "malformed"}, "RS256", rsa),
        "twin": BadKey(jwk(rsa, "twin"), "RS256", rsa),
    }


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, FakeIssuer, dict[str, BadKey]]]:
    """Return a service whose issuer publishes one good key among many bad ones."""
    bad = bad_keys()
    secret: dict[str, object] = {"kty": "oct", "k": b64(b"of everybody"), "kid": "symmetric"}
    with FakeIssuer() as issuer, FakeTailscale() as tailscale:
        good = jwk(key_pair("RS256", 0), issuer.keys.key_id(0), alg="RS256")
        twin = jwk(key_pair("RS256", 6), "twin")
        keys: list[object] = [None, [], *(key.published for key in bad.values()), twin, secret, good]
        issuer.trouble = http(200, json.dumps({"keys": keys}).encode())
        text = policy(issuer.url, algorithm=["RS256", "ES256"])
        with Service(tmp_path_factory.mktemp("mixed"), {"infra": text}, tailscale) as service:
            service.wait_for_keys()
            yield service, issuer, bad


def test_bad_keys_are_not_used(mixed: tuple[Service, FakeIssuer, dict[str, BadKey]]) -> None:
    """K-04 to K-10, K-12: a key that is for something else, weak, broken, given away or no longer unique is none."""
    service, issuer, bad = mixed
    claims = json.dumps(issuer.keys.claims()).encode()
    header = issuer.keys.header
    tokens = {key_id: sign(header(alg=key.algorithm, kid=key_id), claims, key.key) for key_id, key in bad.items()}
    tokens["symmetric"] = sign_with_hmac(header(alg="HS256", kid="symmetric"), claims, b"of everybody")
    answers = {key_id: service.exchange(token) for key_id, token in tokens.items()}
    assert {answer.status for answer in answers.values()} == {401}
    reasons = {key_id: service.event_of(answer)["reason"] for key_id, answer in answers.items()}
    assert reasons == {
        **dict.fromkeys(tokens, "unknown_key"),
        "symmetric": "algorithm_refused",
        "other alg": "key_algorithm_mismatch",
        "other type": "key_algorithm_mismatch",
    }


def test_k12_one_bad_key_never_costs_the_good_ones(mixed: tuple[Service, FakeIssuer, dict[str, BadKey]]) -> None:
    """K-12: the good key among the bad ones works, and each bad one is named in the log with the reason."""
    service, issuer, bad = mixed
    assert service.exchange(issuer.token()).status == 200
    named = [line["kid"] for line in service.log_lines("a key was dropped")]
    # Two have no id, and the twins are two.
    expected = [*bad.keys() - {"other alg", "other type"}, "twin", "symmetric", None, None]
    assert sorted(named, key=str) == sorted(expected, key=str)
    assert [trust["keys"] for trust in service.readiness()["trusts"]] == [3]
