"""The first inputs of each target, made by the generators of the tests."""

import json
from collections.abc import Callable
from pathlib import Path

from fakes.issuer import Issuer, jwk, key_pair
from fakes.policies import policy
from tailsts.fixtures import fixture, names

ISSUER = Issuer("https://issuer.example.com")
NOW = 1_800_000_000
SCOPES = b'{"scopes":["dns:read","devices:core:read"]}'


def tokens() -> dict[str, bytes]:
    """Return tokens: in parts, as a fuzzer can see them, and encoded."""
    claims = ISSUER.claims(iat=NOW, exp=NOW + 300, jti="0123456789abcdef")
    plain = json.dumps(claims, separators=(",", ":")).encode()
    nested = json.dumps({**claims, "a": {"b": [1, 2.5, None, True, {"c": "\u00e9"}]}, "roles": ["x", "y"]}).encode()
    header = json.dumps(ISSUER.header(kid="a")).encode()
    found = {"parts": header + b"\0" + plain + b"\0sig", "nested": header + b"\0" + nested + b"\0sig"}
    for algorithm in ("EdDSA", "ES256"):
        found[f"encoded-{algorithm}"] = Issuer("https://issuer.example.com", algorithm).token().encode()
    for extra in ({"typ": "at+jwt"}, {"crit": ["b64"], "b64": False}, {"kid": "b"}, {"jku": "https://x"}):
        changed = json.dumps({**ISSUER.header(alg="EdDSA"), **extra}).encode()
        found["-".join(["header", *extra])] = changed + b"\0" + plain + b"\0" + b"s" * 64
    for name, value in {"exp": NOW - 61, "iat": NOW + 61, "nbf": NOW + 61, "aud": ["a", 1], "sub": ""}.items():
        changed = json.dumps({**claims, name: value}).encode()
        found[f"claim-{name}"] = header + b"\0" + changed + b"\0s"
    for name, text in {"deep": "[" * 33 + "]" * 33, "nan": "NaN", "huge": "1e400", "long": "9" * 30}.items():
        found[f"value-{name}"] = header + b"\0" + plain[:-1] + f',"x":{text}}}'.encode() + b"\0s"
    found["twins"] = header + b"\0" + plain[:-1] + b',"SUB":"x"}\0s'
    found["duplicate"] = header + b"\0" + plain[:-1] + b',"sub":"x"}\0s'
    found["escapes"] = header + b"\0" + plain[:-1] + rb',"x":"\ud83d\ude00\u0000","y":1e3}' + b"\0s"
    return found


def key_sets() -> dict[str, bytes]:
    """Return key sets of each kind, and with members that are of no use."""
    keys = {name: jwk(key_pair(name), f"k-{name}") for name in ("ES256", "ES384", "ES512", "EdDSA", "RS256")}
    found = {name: _set(member) for name, member in keys.items()}
    found["small"] = _set(keys["ES256"], keys["EdDSA"])
    found["twins"] = _set(keys["EdDSA"], {**keys["ES256"], "kid": "k-EdDSA"})
    found["without-ids"] = _set(jwk(key_pair("EdDSA"), None), jwk(key_pair("ES256"), None))
    found["bad"] = _set(None, {"kty": "oct", "k": "AAAA"}, {"kty": "zz"}, {**keys["EdDSA"], "d": "AAAA"}, keys["ES256"])
    found["uses"] = _set({**keys["EdDSA"], "use": "enc"}, {**keys["ES256"], "key_ops": ["verify"]})
    found["curves"] = _set({**keys["ES256"], "crv": "secp256k1"}, {**keys["ES256"], "x": "AAAA"})
    found["weak"] = _set({"kty": "RSA", "n": "w" * 160, "e": "AQAB"}, {"kty": "RSA", "n": "w" * 350, "e": "Ag"})
    return found


def _set(*members: object) -> bytes:
    return json.dumps({"keys": members}, separators=(",", ":")).encode()


def requests() -> dict[str, bytes]:
    """Return requests: header fields and a body."""
    bearer = b"authorization: Bearer a.b.c\n"
    typed = bearer + b"content-type: application/json\ncontent-length: 40\n\n"
    bodies = {
        "usual": SCOPES,
        "all": b'{"scopes":["auth_keys"],"tags":["tag:ci","tag:a-b"],"policy":"infra"}',
        "twice": b'{"scopes":["all","all"]}',
        "none": b'{"scopes":[]}',
        "blank": b'{"scopes":["a b",""]}',
        "duplicate": b'{"scopes":["all"],"scopes":["dns"]}',
        "spaced": b' {"policy" : "p", "scopes" : [ "dns" ] } \n',
        "escaped": rb'{"scopes":["dns\u003aread"],"policy":"\ud83d\ude00"}',
    }
    found = {name: typed + body for name, body in bodies.items()}
    found["two"] = bearer + bearer + b"\n" + SCOPES
    found["charset"] = bearer + b'content-type: Application/JSON ; charset="UTF-8"\n\n' + SCOPES
    found["basic"] = b"authorization: Basic eDp5\ncontent-type: text/plain\n\n" + SCOPES
    found["many"] = typed + json.dumps({"scopes": [f"s{number}" for number in range(101)]}).encode()
    found["many-tags"] = typed + json.dumps({"scopes": ["all"], "tags": ["tag:a"] * 101}).encode()
    wrong: dict[str, dict[str, object]] = {
        "tags": {"tags": "x"},
        "tag": {"tags": ["x"]},
        "policy": {"policy": ""},
        "more": {"x": 1},
    }
    for kind, members in wrong.items():
        found[f"bad-{kind}"] = typed + json.dumps({"scopes": ["all"], **members}).encode()
    found["long"] = bearer + b"content-length: 99999\n\n" + SCOPES
    return found


def policies() -> dict[str, bytes]:
    """Return policies with each key, and for the token of each issuer that we know."""
    name = "https://issuer.example.com"
    texts = {
        "usual": policy(name),
        "pattern": policy(name, subject=None, subject_pattern="repo:acme/[^:/]+:ref:refs/heads/main"),
        "claims": policy(name, subject=None) + '[claims]\nref = "x"\n"a.b" = [1, true, 2.5]\nkubernetes.io.pod = "p"\n',
        "patterns": policy(name) + '[claim_patterns]\nref = "refs/(heads|tags)/[a-z]+"\n',
        "condition": policy(name, condition="claims.a == 'b' && size(scopes) < 3 && 'tag:x' in tags"),
        "family": policy(name, jwks_url=None, issuer_pattern=r"https://[a-z0-9-]+\.example\.com").partition("\n")[2],
        "times": policy(name, max_lifetime="1h", max_age=300) + "not_before = 2030-01-01T00:00:00Z\n",
        "bounds": policy(name, single_use=True, rate_limit="60/minute"),
        "tags": policy(name, allowed_scopes=["auth_keys"], allowed_tags=["tag:ci"], tailnet="default"),
        "opa": policy(name) + '[opa]\nurl = "http://127.0.0.1:8181/v1/data/a"\n',
        "file": policy(name, jwks_url=None, jwks_file="keys.json", algorithm=["EdDSA", "ES256"]),
        "plain": policy("http://issuer.internal", allow_http=True),
        "authority": policy(name, ca_file="ca.pem"),
        "broad": policy(name, subject=None, any_subject=True, audience=None, audience_pattern=".*"),
        "misspelt": policy(name).replace("subject", "subjet"),
        "broken": policy(name)[:-5],
    }
    found = {kind: text.encode() for kind, text in texts.items()}
    for path in sorted(Path("tests/data/judged").rglob("*.toml")):
        if not path.name.endswith(".test.toml"):
            found[f"judged-{path.parent.name}-{path.stem}"] = path.read_bytes()
    for kind in names():
        claims = fixture(kind).claims
        keys = {"jwks_url": None, "subject": str(claims["sub"]), "audience": "https://sts.example.com"}
        found[f"of-{kind}"] = policy(str(claims["iss"]), **keys).encode()
    return found


SEEDS: dict[str, Callable[[], dict[str, bytes]]] = {
    "token": tokens,
    "jwks": key_sets,
    "wire": requests,
    "policy": policies,
}
