"""Asks a server for one exchange, once. A token that it hands out is looked at no further, and kept nowhere."""

import json
import re

from tailsts.client import DECISION_ID, LIMITS
from tailsts.credentials import Secret
from tailsts.errors import OutboundError
from tailsts.outbound import HTTP_OK, Response, SyncOutbound
from tailsts.policy.decide import Wanted
from tailsts.probing.judge import NoAnswer, Said

MAX_MESSAGE = 300
MASK = "***"
# What is shorter is a word, or nothing at all, and no signature.
MIN_PART = 8

_DECISION = re.compile(r"[0-9a-f]{20}")
_DECISION_IN_MESSAGE = re.compile(r" \(decision ([0-9a-f]{20})\)$")
# Nothing that a server has to say in words is as long; a token that is quoted in part, or changed a little, is.
_LIKE_A_SECRET = re.compile(r"[A-Za-z0-9_-]{40,}")
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/:-]+=*")


class Server:
    """A TailSTS server; `seconds` is what one exchange may take."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url.rstrip("/") + "/"
        self._seconds = seconds
        self._outbound = SyncOutbound(LIMITS, read_headers=(DECISION_ID,))

    def ask(self, token: Secret, wanted: Wanted) -> Said | NoAnswer:
        """Ask for an exchange, and do not try again: what is there now is what is asked."""
        asked = {"scopes": wanted.scopes, "tags": wanted.tags or None, "policy": wanted.policy}
        body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
        headers = {"authorization": f"Bearer {token.reveal()}", "content-type": "application/json"}
        try:
            response = self._outbound.post(self._url, body, headers, self._seconds)
        except OutboundError as error:
            return NoAnswer(f"{self._url}: {error}")
        return _said(response, token)


def _said(response: Response, sent: Secret) -> Said | NoAnswer:
    decision = response.headers.get(DECISION_ID, "")
    decision = decision if _DECISION.fullmatch(decision) else ""
    if response.status == HTTP_OK:
        if not _TOKEN.fullmatch(response.body):
            return NoAnswer("what came with 200 is no token: is this a TailSTS server?")
        return Said(HTTP_OK, "granted", decision)
    if response.status < HTTP_OK + 200:
        # Whatever it is, it may be a token.
        return Said(response.status, "neither a token nor a denial: is this a TailSTS server?", decision)
    text = _masked(response.body.decode("utf-8", "replace"), sent.reveal())[:MAX_MESSAGE].strip()
    return Said(response.status, _DECISION_IN_MESSAGE.sub("", text if text.isprintable() else ascii(text)), decision)


def _masked(text: str, token: str) -> str:
    """Return the text without our token: a proxy may quote what it did not like, and not all of it."""
    # The whole first, so that one mask stands for it.
    for secret in (token, *(part for part in token.split(".") if len(part) >= MIN_PART)):
        text = text.replace(secret, MASK)
    return _LIKE_A_SECRET.sub(MASK, text)
