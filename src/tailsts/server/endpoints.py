"""The routes, one short function each. All that mints goes through the one `Exchange`."""

from collections.abc import Callable

import msgspec
import structlog

from tailsts.exchange import Caller, Exchange
from tailsts.outcome import (
    ExchangeRequest,
    Malformed,
)
from tailsts.server import wire
from tailsts.server.exposition import Exposition
from tailsts.server.readiness import Readiness
from tailsts.server.rsgi import BODY_SECONDS, BodyBrokenError, BodyTooLargeError, Inbound
from tailsts.server.wire import Answer


class PublicRoutes:
    """What the world may reach: the exchange, and a sign of life that says nothing else."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def respond(self, inbound: Inbound) -> Answer:
        """Answer a request to the public port."""
        if inbound.path != "/":
            return _healthz(inbound) if inbound.path == "/healthz" else wire.plain(404, "not found")
        try:
            request = await _read_request(inbound)
            caller = Caller(inbound.peer, inbound.headers.get("user-agent", ""), inbound.has_left)
            return wire.answer(await self._exchange.decide(request, caller))
        except Exception:  # noqa: BLE001 - the last resort, so that no bug shows itself to a caller
            # A bug. The exchange has recorded it; the caller learns nothing but that it is ours.
            structlog.get_logger().exception("an exchange failed unexpectedly")
            return wire.plain(500, "internal error")


class AdminRoutes:
    """What only the operator may reach."""

    def __init__(self, readiness: Callable[[], Readiness], exposition: Exposition) -> None:
        self._readiness = readiness
        self._exposition = exposition

    async def respond(self, inbound: Inbound) -> Answer:
        """Answer a request to the admin port."""
        match inbound.path:
            case "/healthz":
                return _healthz(inbound)
            case "/readyz":
                return self._readyz(inbound)
            case "/metrics":
                return self._metrics(inbound)
            case _:
                return wire.plain(404, "not found")

    def _readyz(self, inbound: Inbound) -> Answer:
        if inbound.method not in {"GET", "HEAD"}:
            return _not_allowed()
        readiness = self._readiness()
        status = 503 if readiness.status == "not ready" else 200
        text = msgspec.json.format(msgspec.json.encode(readiness), indent=2).decode()
        return Answer(status, [("content-type", "application/json"), ("cache-control", "no-store")], text + "\n")

    def _metrics(self, inbound: Inbound) -> Answer:
        if inbound.method not in {"GET", "HEAD"}:
            return _not_allowed()
        headers = [
            ("content-type", "text/plain; version=1.0.0; charset=utf-8"),
            ("cache-control", "no-store"),
        ]
        return Answer(200, headers, self._exposition.text())


async def _read_request(inbound: Inbound) -> ExchangeRequest | Malformed:
    if inbound.method != "POST":
        return Malformed(405, "method", "only POST")
    length = inbound.headers.get("content-length")
    bearer = wire.bearer_token(inbound.header_values("authorization"), inbound.single("content-type"), length)
    if isinstance(bearer, Malformed):
        return bearer
    try:
        body = await inbound.body(wire.MAX_BODY_LENGTH, length_known=length is not None)
    except BodyTooLargeError:
        return wire.too_large()
    except BodyBrokenError:
        return Malformed(408, "body_missing", f"the body did not come whole within {BODY_SECONDS:.0f} seconds")
    return wire.exchange_request(bearer, body)


def _healthz(inbound: Inbound) -> Answer:
    if inbound.method not in {"GET", "HEAD"}:
        return _not_allowed()
    return wire.plain(200, "ok")


def _not_allowed() -> Answer:
    return wire.plain(405, "only GET", ("allow", "GET, HEAD"))
