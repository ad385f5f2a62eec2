"""An OIDC issuer with real keys that can rotate, fall silent, lie and break."""

import base64
import functools
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from fakes.http import Reply, Request, ScriptedServer, http
from fakes.leaks import note_secret

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


_making_a_key = threading.Lock()


def key_pair(algorithm: str, number: int = 0) -> Key:
    """Return the key pair of that number for the algorithm; each is made once in a run."""
    # Asked for in the threads of issuers as well: without the lock, two could make it at once and differ.
    with _making_a_key:
        return _key_pair("RSA" if algorithm[:2] in {"RS", "PS"} else algorithm, number)


@functools.cache
def _key_pair(algorithm: str, _number: int) -> Key:
    if algorithm in _CURVES:
        return ECKey.generate_key(_CURVES[algorithm])
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    return RSAKey.generate_key(2048)


def b64(raw: bytes) -> str:
    """Return `raw` as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(header: Mapping[str, object], payload: bytes, key: Key) -> str:
    """Return a compact JWS over any header and payload, however wrong: the algorithm is that of the header."""
    head = b64(json.dumps(header).encode())
    return sign_segments(head, b64(payload), str(header["alg"]), key)


def sign_with_hmac(header: Mapping[str, object], payload: bytes, secret: bytes) -> str:
    """Return a compact JWS with the HMAC that the header names."""
    signing_input = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    digest = hmac.digest(secret, signing_input.encode(), f"sha{str(header['alg'])[2:]}")
    return f"{signing_input}.{b64(digest)}"


def sign_segments(header_segment: str, payload_segment: str, algorithm: str, key: Key) -> str:
    """Return a compact JWS over two segments as they are."""
    signing_input = f"{header_segment}.{payload_segment}"
    signature = b64(JWSRegistry.algorithms[algorithm].sign(signing_input.encode(), key))
    note_secret(signature)
    return f"{signing_input}.{signature}"


def jwk(key: Key, key_id: str | None, **members: object) -> dict[str, object]:
    """Return the public JWK of a key pair."""
    public: dict[str, object] = {**key.as_dict(private=False)}
    public.pop("kid", None)
    return {**public, **({} if key_id is None else {"kid": key_id}), "use": "sig", **members}


@dataclass
class Issuer:
    """Keys and claims of an issuer; no socket."""

    url: str
    algorithm: str = "RS256"
    numbers: list[int] = field(default_factory=lambda: [0])

    def key_id(self, number: int) -> str:
        """Return the key id of the key of that number."""
        return f"key-{self.algorithm}-{number}"

    def jwks(self) -> dict[str, object]:
        """Return the key set."""
        return {"keys": [jwk(key_pair(self.algorithm, n), self.key_id(n), alg=self.algorithm) for n in self.numbers]}

    def claims(self, **claims: object) -> dict[str, object]:
        """Return the claims of a good token, changed by `claims`; None leaves one out."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "sub": "repo:acme/infra:ref:refs/heads/main",
            "aud": "https://sts.example.com",
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
        }
        return {name: value for name, value in {**good, **claims}.items() if value is not None}

    def header(self, **header: object) -> dict[str, object]:
        """Return the header of a good token, changed by `header`; None leaves one out."""
        good = {"alg": self.algorithm, "typ": "JWT", "kid": self.key_id(self.numbers[-1])}
        return {name: value for name, value in {**good, **header}.items() if value is not None}

    def token(self, *, header: Mapping[str, object] | None = None, **claims: object) -> str:
        """Return a token signed by the newest key."""
        payload = json.dumps(self.claims(**claims)).encode()
        return sign(self.header(**(header or {})), payload, key_pair(self.algorithm, self.numbers[-1]))

    def token_over(self, payload: bytes, **header: object) -> str:
        """Return a token, well signed, over any bytes."""
        return sign(self.header(**header), payload, key_pair(self.algorithm, self.numbers[-1]))


class FakeIssuer(ScriptedServer):
    """An issuer on a socket. `trouble`, if set, answers instead of it."""

    def __init__(self, algorithm: str = "RS256", *, numbers: tuple[int, ...] = (0,), port: int = 0) -> None:
        super().__init__(self._respond, port=port)
        self.trouble: Reply | Callable[[Request], Reply] | None = None
        self.discovery_changes: dict[str, object] = {}
        self._algorithm = algorithm
        self._numbers = list(numbers)
        self.keys = Issuer("", algorithm, self._numbers)

    def __enter__(self) -> Self:
        super().__enter__()
        self.keys.url = f"http://127.0.0.1:{self.port}"
        return self

    @property
    def url(self) -> str:
        """The issuer's name."""
        return self.keys.url

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return f"{self.url}/jwks"

    def token(self, *, header: Mapping[str, object] | None = None, **claims: object) -> str:
        """Return a good token, changed."""
        return self.keys.token(header=header, **claims)

    def rotate(self, *, withdraw: bool = False) -> None:
        """Sign with a new key from now on; `withdraw` the old ones."""
        newest = self.keys.numbers[-1] + 1
        self.keys.numbers[:] = [newest] if withdraw else [*self.keys.numbers, newest]

    def discovery(self) -> dict[str, object]:
        """Return the discovery document."""
        return {"issuer": self.url, "jwks_uri": self.jwks_url, **self.discovery_changes}

    def _respond(self, request: Request) -> Reply:
        if self.trouble is not None:
            return self.trouble(request) if callable(self.trouble) else self.trouble
        documents = {"/jwks": self.keys.jwks(), "/.well-known/openid-configuration": self.discovery()}
        if request.path not in documents:
            return http(404, b"not found")
        return http(200, json.dumps(documents[request.path]).encode())


def in_turn(*replies: Reply) -> Callable[[Request], Reply]:
    """Return what gives these replies one after the other, and the last one for ever."""
    left = list(replies)
    return lambda _request: left.pop(0) if len(left) > 1 else left[0]
