"""The one place that asks the JOSE library whether a signature holds (RFC 7515, 5.2).

The library's algorithms are taken one by one, and each is told at load which keys it may use: that a header asks for
an algorithm changes nothing about either. HMAC and "none" are not switched off here: they are not there.
"""

import copy
from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from tailsts.oidc.token import ALGORITHMS


def _quiet(name: str) -> Any:  # noqa: ANN401 - of a type that the library does not export
    algorithm = copy.copy(JWSRegistry.algorithms[name])
    # RFC 9864 renames EdDSA to Ed25519, and the library warns; issuers still write EdDSA, and the curve follows
    # from the key here.
    algorithm.security_warning = None
    return algorithm


class _Registry(JWSRegistry):
    """The algorithms that exist for us."""

    algorithms = {name: _quiet(name) for name in ALGORITHMS}  # noqa: RUF012 - the library's attribute
    recommended = []  # noqa: RUF012 - the same


REGISTRY = _Registry(algorithms=sorted(ALGORITHMS))


def fits(algorithm: str, key: Key) -> bool:
    """Return whether the library too lets `algorithm` be used with `key`: its type, curve, use and alg."""
    try:
        REGISTRY.get_alg(algorithm).check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True


def holds(algorithm: str, key: Key, signing_input: bytes, signature: bytes) -> bool:
    """Return whether `signature` over `signing_input` was made with the private half of `key`.

    `algorithm` must fit the key: see `fits`.
    """
    return bool(_ALGORITHMS[algorithm].verify(signing_input, signature, key))


_ALGORITHMS: Mapping[str, Any] = _Registry.algorithms
