"""Minting in tests: an endpoint with the usual credential, and what its faults say."""

import time
from collections.abc import Callable

import pytest

from fakes.http import http
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET
from tailsts.credentials import Secret
from tailsts.errors import ExchangeFault, TailscaleUnavailableError
from tailsts.policy.decide import Grant
from tailsts.tailscale.token_endpoint import Credential, TokenEndpoint

GOOD = http(200, b'{"access_token":"tskey-api-x","token_type":"Bearer","expires_in":3600,"scope":"dns"}')
DNS = Grant("p", ("dns",))


def endpoint_at(
    url: str,
    *roots: bytes,
    pair: tuple[str, str] = (CLIENT_ID, CLIENT_SECRET),
    clock: Callable[[], float] | None = None,
) -> TokenEndpoint:
    """Return an endpoint with the usual credential, on the real clock unless told otherwise."""
    credential = Credential(pair[0], Secret(pair[1]), url)
    return TokenEndpoint(credential, extra_roots=roots, monotonic=clock or time.monotonic)


async def fault_of(endpoint: TokenEndpoint) -> tuple[type[ExchangeFault], str, int | None]:
    """Return the kind of fault of a mint, what it says, and after how many seconds to come again, if it says so."""
    with pytest.raises(ExchangeFault) as caught:
        await endpoint.mint(DNS)
    error = caught.value
    return type(error), str(error), error.retry_after if isinstance(error, TailscaleUnavailableError) else None
