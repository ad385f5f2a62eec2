"""A receiver of CloudEvents on a socket: strict about what it is sent, and as unwilling as told."""

import json
import re
from collections.abc import Callable
from typing import Any

from fakes.http import Reply, Request, ScriptedServer, http

PATH = "/events"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# CloudEvents 1.0.2: those of the core specification, and of the JSON format.
_MEMBERS = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"}


class FakeCollector(ScriptedServer):
    """Takes batches. `trouble`, if set, answers instead; `refuses` says with which status an event is refused, if any.

    `events` are those that it took, in their order; `sizes` are those of all batches that it was sent.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(self._respond, port=port)
        self.trouble: Reply | Callable[[Request], Reply] | None = None
        self.refuses: Callable[[dict[str, Any]], int | None] = lambda _event: None
        self.token: str | None = None
        self.events: list[dict[str, Any]] = []
        self.sizes: list[int] = []

    @property
    def url(self) -> str:
        """Where events are sent to."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def decisions(self) -> list[str]:
        """Return the decisions of the events that were taken, those that came twice once."""
        return list(dict.fromkeys(event["data"]["decision"] for event in tuple(self.events)))

    def _respond(self, request: Request) -> Reply:
        if request.method != "POST" or request.path != PATH:
            return http(404, b"")
        if request.headers.get("content-type") != "application/cloudevents-batch+json":
            return http(415, b"")
        batch = json.loads(request.body)
        self.sizes.append(len(batch))
        if self.trouble is not None:
            return self.trouble(request) if callable(self.trouble) else self.trouble
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return http(401, b"")
        for event in batch:
            if (status := 400 if _faults(event) else self.refuses(event)) is not None:
                return http(status, b"")
        self.events.extend(batch)
        return http(204, b"")


def _faults(event: object) -> list[str]:
    """Return what keeps `event` from being a CloudEvent 1.0 of ours."""
    if not isinstance(event, dict):
        return ["no object"]
    texts = [name for name in event if name != "data" and not (isinstance(event[name], str) and event[name])]
    found = [f"{name} is no text" for name in texts]
    found += [f"{name} is unknown" for name in event.keys() - _MEMBERS]
    found += [f"{name} is missing" for name in {"specversion", "id", "source", "type"} - event.keys()]
    if not found and event["specversion"] != "1.0":
        found.append("another version")
    if not _TIME.fullmatch(str(event.get("time"))):
        found.append("time is none of RFC 3339")
    return found
