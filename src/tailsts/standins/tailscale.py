"""A stand-in for Tailscale's token endpoint: grants what it is asked for, to the one client that it knows."""

import base64
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs

from tailsts.standins.http import Reply, Request, Route

PATH = "/api/v2/oauth/token"


class TailscaleStandIn:
    """Knows one OAuth client, and answers as Tailscale does (RFC 6749, 5.1).

    The client has `tags`: a token gets those that are asked for, or all if none are. With `heeds_tags` false it gets
    them all whatever is asked, which a service must not pass on.
    """

    def __init__(
        self, client_id: str, client_secret: str, tags: tuple[str, ...] = (), *, heeds_tags: bool = True
    ) -> None:
        self._tags = " ".join(tags)
        self._heeds_tags = heeds_tags
        pair = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._authorization = f"Basic {pair}"

    def routes(self) -> Mapping[str, Route]:
        """Return what it serves."""
        return {f"POST {PATH}": self._token}

    def _token(self, request: Request) -> Reply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not secrets.compare_digest(headers.get("authorization", ""), self._authorization):
            return Reply(401, {"message": "API token invalid"})
        form = parse_qs(request.body.decode())
        scope = " ".join(form.get("scope", ["all"]))
        tags = form.get("tags", [self._tags])[0] if self._heeds_tags else self._tags
        token = f"tskey-api-{secrets.token_hex(6)}CNTRL-{secrets.token_hex(16)}"
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope}
        return Reply(200, {**answer, "tags": tags} if tags else answer)
