"""An OIDC issuer for development: one key, discovery, a key set, and tokens on demand."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from tailsts.oidc.signature import REGISTRY
from tailsts.standins.http import Reply, Route, StandInServer

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class DevelopmentIssuer:
    """Signs tokens as `issuer` (RFC 7519) with a new key for `algorithm`, under the key id `key_id`.

    Without a `key_id` it is the key's thumbprint (RFC 7638), so that a new key has a new id.
    """

    def __init__(self, issuer: str, *, algorithm: str = "RS256", key_id: str | None = None) -> None:
        self.issuer = issuer
        self.algorithm = algorithm
        self._key = _generate(algorithm)
        self.key_id = key_id or self._key.thumbprint()

    def token(
        self,
        subject: str,
        *,
        audiences: tuple[str, ...] = (),
        claims: Mapping[str, object] | None = None,
        lifetime: int = 300,
    ) -> str:
        """Return a signed token with iss, sub, iat, exp (`lifetime` seconds on), jti, aud if any, and `claims`."""
        now = int(time.time())
        registered: dict[str, object] = {
            "iss": self.issuer,
            "sub": subject,
            "iat": now,
            "exp": now + lifetime,
            "jti": secrets.token_hex(16),
        }
        if audiences:
            registered["aud"] = audiences[0] if len(audiences) == 1 else list(audiences)
        return self.sign({**registered, **(claims or {})})

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a token with exactly these claims."""
        header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        return jws.serialize_compact(header, msgspec.json.encode(claims), self._key, registry=REGISTRY)

    def jwks(self) -> dict[str, object]:
        """Return the key set (RFC 7517)."""
        public = self._key.as_dict(private=False, kid=self.key_id, alg=self.algorithm, use="sig")
        return {"keys": [public]}

    def discovery(self) -> dict[str, object]:
        """Return the discovery document (OpenID Connect Discovery 1.0, section 3)."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer.rstrip('/')}/jwks",
            "id_token_signing_alg_values_supported": [self.algorithm],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
        }

    def routes(self) -> Mapping[str, Route]:
        """Return what it serves."""
        return {
            "GET /jwks": lambda _request: Reply(200, self.jwks()),
            "GET /.well-known/openid-configuration": lambda _request: Reply(200, self.discovery()),
        }


@contextmanager
def serving(
    host: str, port: int, *, issuer: str | None = None, algorithm: str = "RS256", key_id: str | None = None
) -> Iterator[tuple[DevelopmentIssuer, str]]:
    """Run an issuer on `host` and `port` (0: a free one); yield it and the URL of its key set.

    Raises:
        OSError: the port is taken.
    """
    server = StandInServer(host, port)
    made = DevelopmentIssuer(issuer or f"http://localhost:{server.port}", algorithm=algorithm, key_id=key_id)
    server.routes.update(made.routes())
    with server:
        yield made, f"http://localhost:{server.port}/jwks"


def _generate(algorithm: str) -> Key:
    if algorithm in _CURVES:
        return ECKey.generate_key(_CURVES[algorithm])
    return OKPKey.generate_key("Ed25519") if algorithm == "EdDSA" else RSAKey.generate_key(2048)
