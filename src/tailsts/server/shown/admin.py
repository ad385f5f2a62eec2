"""What only the operator may reach: readiness and metrics."""

from collections.abc import Awaitable, Callable

import msgspec

from tailsts.server import wire
from tailsts.server.rsgi import Inbound
from tailsts.server.shown import exposition
from tailsts.server.shown.snapshot import Snapshot
from tailsts.server.wire import Answer

_JSON = "application/json"
_TEXT = "text/plain; version=1.0.0; charset=utf-8"


class AdminRoutes:
    """The routes of the admin port. `look` returns what is to be seen now."""

    def __init__(self, look: Callable[[], Awaitable[Snapshot]]) -> None:
        self._look = look

    async def respond(self, inbound: Inbound) -> Answer:
        """Answer a request to the admin port."""
        if inbound.path not in {"/healthz", "/readyz", "/metrics"}:
            return wire.plain(404, "not found")
        if inbound.method not in {"GET", "HEAD"}:
            return wire.plain(405, "only GET", ("allow", "GET, HEAD"))
        if inbound.path == "/healthz":
            return wire.plain(200, "ok")
        snapshot = await self._look()
        return _readiness(snapshot) if inbound.path == "/readyz" else _shown(200, _TEXT, exposition.text(snapshot))


def _readiness(snapshot: Snapshot) -> Answer:
    status = 503 if snapshot.readiness.status == "not ready" else 200
    return _shown(status, _JSON, msgspec.json.format(msgspec.json.encode(snapshot.readiness), indent=2).decode() + "\n")


def _shown(status: int, kind: str, text: str) -> Answer:
    return Answer(status, [("content-type", kind), ("cache-control", "no-store")], text)
