"""The client that workloads use: trades an OIDC token for a Tailscale access token at a TailSTS server. Synchronous.

from tailsts.client import Client
from tailsts.credentials import Secret

token = Client("https://sts.example.com").exchange(Secret(oidc_token), ["devices:core:read"])
use(token.reveal())
"""

import json
import re
import time
from collections.abc import Callable, Sequence

from tailsts.credentials import Secret
from tailsts.errors import OutboundError, TailstsError
from tailsts.outbound import HTTP_OK, Limits, Response, SyncOutbound

# The server answers within 5 s for keys and 10 s for Tailscale.
LIMITS = Limits(connect=5.0, total=20.0, body=64 * 1024)
FIRST_WAIT, LAST_WAIT = 0.5, 10.0

# RFC 6750, 2.1: what can stand after "Bearer"; and the colon, which RFC 6749 allows.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/:-]+=*")

DECISION_ID = "x-decision-id"
REDIRECTS = range(300, 400)
NOT_FOUND, TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE, SERVER_ERRORS = 404, 429, 503, 500


class DeniedError(TailstsError):
    """The server said no. `decision` is the id under which its audit log says why, None if it gave none."""

    def __init__(self, status: int, message: str, decision: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.decision = decision


class ServerUnavailableError(TailstsError):
    """No server, or one that cannot do it now, for as long as was waited."""


class Client:
    """A TailSTS server. `timeout` is in seconds, for all attempts together; `say` hears why one failed."""

    def __init__(
        self,
        server: str,
        *,
        timeout: float = 60.0,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._url = server.rstrip("/") + "/"
        self._timeout = timeout
        self._say = say
        self._outbound = SyncOutbound(LIMITS, read_headers=(DECISION_ID, "retry-after"))

    def exchange(
        self, token: Secret, scopes: Sequence[str], tags: Sequence[str] = (), policy: str | None = None
    ) -> Secret:
        """Trade `token` for a Tailscale access token with `scopes` and `tags`, under `policy` or whichever allows it.

        Raises:
            ValueError: `token` is not a token.
            DeniedError: the server said no; asking again would not help.
            ServerUnavailableError: no yes and no no within the time-out.
        """
        if not _TOKEN.fullmatch(token.reveal()):
            raise ValueError("what was given is not a token")
        wanted = {"scopes": list(scopes), "tags": list(tags) or None, "policy": policy}
        body = json.dumps({name: value for name, value in wanted.items() if value is not None}).encode()
        headers = {"authorization": f"Bearer {token.reveal()}", "content-type": "application/json"}
        deadline = time.monotonic() + self._timeout
        wait = FIRST_WAIT
        while True:
            answer = self._attempt(body, headers, token, deadline - time.monotonic())
            if isinstance(answer, Secret):
                return answer
            reason, asked = answer
            pause = wait if asked is None else max(asked, FIRST_WAIT)
            if time.monotonic() + pause >= deadline:
                raise ServerUnavailableError(f"{reason}; it asks to wait {asked:.0f} s" if asked else reason)
            self._say(f"{reason}; trying again in {pause:g} s")
            time.sleep(pause)
            wait = min(wait * 2, LAST_WAIT)

    def _attempt(
        self, body: bytes, headers: dict[str, str], sent: Secret, seconds: float
    ) -> Secret | tuple[str, float | None]:
        """Return the token, or why there is none yet and after how many seconds the server wants to be asked."""
        try:
            response = self._outbound.post(self._url, body, headers, max(seconds, 0.1))
        except OutboundError as error:
            return f"{self._url} cannot be reached: {error}", None
        if response.status == HTTP_OK:
            return _token(response)
        message = _message(response, sent)
        if _is_worth_repeating(response):
            # Without a decision it was turned away unread, or by a proxy: there is nothing of it in the log.
            is_logged = response.status == SERVICE_UNAVAILABLE and DECISION_ID in response.headers
            where = "; the server's log has the reason" if is_logged else ""
            return f"{self._url} answered {response.status}: {message}{where}", _retry_after(response)
        if response.status == NOT_FOUND or response.status in REDIRECTS:
            # Never followed: the OIDC token is for this server alone.
            raise ServerUnavailableError(
                f"{self._url} answered {response.status}: is this the URL of a TailSTS server?"
            )
        if response.status >= SERVER_ERRORS:
            raise ServerUnavailableError(f"{self._url} answered {response.status}: {message}")
        raise DeniedError(response.status, message, response.headers.get(DECISION_ID))


def _token(response: Response) -> Secret:
    text = response.body.decode("ascii", "replace")
    if not _TOKEN.fullmatch(text):
        raise ServerUnavailableError("the answer is not a token: is this a TailSTS server?")
    return Secret(text)


def _is_worth_repeating(response: Response) -> bool:
    # 502 and 504 without a decision come from a proxy before the server: it may be restarting.
    from_proxy = response.status in {502, 504} and DECISION_ID not in response.headers
    return response.status in {SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS} or from_proxy


def _retry_after(response: Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text[:9]) if text.isascii() and text.isdigit() else None


def _message(response: Response, sent: Secret) -> str:
    # A proxy may quote what it did not like: our own token must not get into a log by that.
    whole = response.body.decode("utf-8", "replace").replace(sent.reveal(), "***")
    text = whole[:500].strip()
    return text if text.isprintable() else ascii(text)
