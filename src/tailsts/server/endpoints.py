"""The routes, one short function each. All that mints goes through the one `Exchange`."""

import structlog

from tailsts.exchange import Caller, Exchange
from tailsts.outcome import (
    ExchangeRequest,
    Malformed,
)
from tailsts.server import wire
from tailsts.server.admission import Doorkeeper
from tailsts.server.rsgi import BODY_SECONDS, BodyBrokenError, BodyTooLargeError, Inbound
from tailsts.server.wire import Answer


class PublicRoutes:
    """What the world may reach: the exchange, and a sign of life that says nothing else."""

    def __init__(self, exchange: Exchange, doorkeeper: Doorkeeper, *, traced: bool = False) -> None:
        self._exchange = exchange
        self._traced = traced
        self._doorkeeper = doorkeeper

    async def respond(self, inbound: Inbound) -> Answer:
        """Answer a request to the public port."""
        if inbound.path != "/":
            return _healthz(inbound) if inbound.path == "/healthz" else wire.plain(404, "not found")
        # Before anything is read: it must cost less to turn a flood away than to send it.
        client = self._doorkeeper.client(inbound.peer, inbound.forwarded_for)
        if client is None:
            return wire.plain(400, "X-Forwarded-For is not readable")
        if seconds := self._doorkeeper.seconds_to_wait(client):
            return wire.turned_away(429, seconds)
        if self._doorkeeper.is_full():
            return wire.turned_away(503, self._doorkeeper.refuse())
        try:
            request = await _read_request(inbound)
            # Counted from here on: who sends slowly must not take the place of those who are done with it.
            if self._doorkeeper.is_full():
                return wire.turned_away(503, self._doorkeeper.refuse())
            return await self._decide(request, inbound, client)
        except Exception:  # noqa: BLE001 - the last resort, so that no bug shows itself to a caller
            # A bug. The exchange has recorded it; the caller learns nothing but that it is ours.
            structlog.get_logger().exception("an exchange failed unexpectedly")
            return wire.plain(500, "internal error")

    async def _decide(self, request: ExchangeRequest | Malformed, inbound: Inbound, client: str) -> Answer:
        traceparent = inbound.single("traceparent") if self._traced else None
        caller = Caller(client, inbound.headers.get("user-agent", ""), inbound.has_left, traceparent)
        self._doorkeeper.in_flight += 1
        try:
            return wire.answer(await self._exchange.decide(request, caller))
        finally:
            self._doorkeeper.in_flight -= 1


async def _read_request(inbound: Inbound) -> ExchangeRequest | Malformed:
    if inbound.method != "POST":
        return Malformed(405, "method", "only POST")
    length = inbound.headers.get("content-length")
    bearer = wire.bearer_token(inbound.header_values("authorization"), inbound.single("content-type"), length)
    if isinstance(bearer, Malformed):
        return bearer
    try:
        body = await inbound.body(wire.MAX_BODY_LENGTH, None if length is None else int(length))
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
