"""Claims in the form of a token that nobody signed: to judge them as the service reads a token. Pure."""

import base64
import json
from collections.abc import Mapping

# What stands where a signature would. It is good for nothing.
_NO_SIGNATURE = "AAAA"


def unsigned(claims: Mapping[str, object], algorithm: str) -> str:
    """Return the compact serialisation (RFC 7515, 7.1) of claims under a header with this `alg`, without a signature.

    For explaining and testing policies: no key verifies it.
    """
    return f"{_segment({'alg': algorithm})}.{_segment(claims)}.{_NO_SIGNATURE}"


def _segment(value: Mapping[str, object]) -> str:
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
