"""The Grant becomes an access token: Tailscale's OAuth token endpoint (RFC 6749, 4.4; tailscale.com/kb/1215).

Each request is built from its own grant and nothing else: there is no client object that holds "the scopes", and
nothing that two exchanges share except the pool of connections and the credential.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import quote_plus

import msgspec
from pyreqwest.http import Url

from tailsts.credentials import AccessToken, Secret
from tailsts.errors import OutboundError, TailscaleAnswerError, TailscaleNotAskedError, TailscaleUnavailableError
from tailsts.outbound import HTTP_OK, Limits, Outbound, Response
from tailsts.policy.decide import Grant
from tailsts.tailscale import circuit
from tailsts.tailscale.answer import access_token, error_text, seconds_to_wait

# Tailscale's answers have some hundred bytes. Ten seconds in all is what a caller bears; three to connect leave
# time for the second attempt.
LIMITS = Limits(connect=3.0, total=10.0, body=64 * 1024)

UNAUTHORIZED, FORBIDDEN, TOO_MANY_REQUESTS, SERVER_ERRORS = 401, 403, 429, 500
# What a proxy or a load balancer says when the machine behind it did not get, or did not serve, the request.
WORTH_ANOTHER_ATTEMPT = frozenset({502, 503, 504})


class Credential(msgspec.Struct, frozen=True):
    """An OAuth client of the tailnet, and where its tokens are asked for."""

    client_id: str
    client_secret: Secret
    token_url: str


class TokenEndpoint:
    """Mints access tokens with one credential. `monotonic` gives seconds.

    `doubted` is set when Tailscale does not accept the credential: its secret may have been replaced by another.
    `failing_fast` tells whether Tailscale failed so often in a row that it is hardly asked for now.
    """

    def __init__(
        self,
        credential: Credential,
        *,
        extra_roots: Sequence[bytes],
        monotonic: Callable[[], float],
    ) -> None:
        self.doubted = asyncio.Event()
        self._client_id = credential.client_id
        self._authorization = _basic(credential.client_id, credential.client_secret)
        self._url = Url(credential.token_url)
        self._monotonic = monotonic
        self._circuit = circuit.CLOSED
        self._answers = 0
        self._rules = circuit.Rules()
        self._outbound = Outbound(
            LIMITS,
            extra_roots=tuple(extra_roots),
            headers={
                "content-type": "application/x-www-form-urlencoded",
                "accept": "application/json",
            },
            read_headers=("retry-after",),
        )

    def adopt(self, secret: Secret) -> None:
        """Use this secret from the next request on. What is in flight ends with the one that it was sent with."""
        self._authorization = _basic(self._client_id, secret)

    @property
    def failing_fast(self) -> bool:
        """Whether Tailscale failed so often in a row that it is hardly asked for now."""
        return self._circuit.open

    async def mint(self, grant: Grant) -> AccessToken:
        """Ask for a token with exactly the grant's scopes and tags.

        Raises:
            TailscaleUnavailableError: no answer, a passing failure, too many requests, or so many failures in a row
                that it was not asked.
            TailscaleAnswerError: an answer that is wrong, wider than asked, or says that we are misconfigured.
        """
        if self._circuit is not circuit.CLOSED:
            self._pass_circuit(grant.policy)
        started, answers = self._monotonic(), self._answers
        try:
            response = await self._ask(_form(grant.scopes, grant.tags), started)
        except TailscaleUnavailableError:
            self._note_failure(grant.policy, started, answers)
            raise
        if response.status >= SERVER_ERRORS:
            self._note_failure(grant.policy, started, answers)
        else:
            # Whatever it says, there is somebody: also 429, which is for its caller alone.
            self._answers += 1
            self._circuit = circuit.CLOSED
        if response.status == HTTP_OK:
            return access_token(response.body, grant.scopes, grant.tags)
        if response.status == UNAUTHORIZED:
            self.doubted.set()
        raise _fault(response)

    def _pass_circuit(self, policy: str) -> None:
        """Let a request of the policy through, or not."""
        if not circuit.stops(self._circuit, policy):
            return
        now = self._monotonic()
        if circuit.wait(self._circuit, policy, now):
            text = f"Tailscale failed {self._circuit.failures} times in a row and was not asked"
            raise TailscaleNotAskedError(text, retry_after=circuit.retry_after(self._circuit, policy, now))
        self._circuit = circuit.tried(self._circuit, self._rules, now, policy)

    def _note_failure(self, policy: str, started: float, answers: int) -> None:
        now = self._monotonic()
        # While it waited in vain others got no answer either: then the silence is as old as the request.
        since = started if answers == self._answers else now
        self._circuit = circuit.failed(self._circuit, self._rules, now, policy, since)

    async def _ask(self, form: bytes, started: float) -> Response:
        """Send the request, and once more if the first one probably was not served; within one deadline."""
        deadline = started + LIMITS.total
        outcome = await self._attempt(form, None)
        if _is_worth_another(outcome):
            left = deadline - self._monotonic()
            if left > 0:
                outcome = await self._attempt(form, left)
        if isinstance(outcome, OutboundError):
            raise _no_answer(outcome)
        return outcome

    async def _attempt(self, form: bytes, seconds: float | None) -> Response | OutboundError:
        try:
            return await self._outbound.post(self._url, form, seconds, self._authorization)
        except OutboundError as error:
            return error


def _is_worth_another(outcome: Response | OutboundError) -> bool:
    # A connection that broke before there was an answer is mostly one of the pool that Tailscale had just closed.
    if isinstance(outcome, OutboundError):
        return outcome.kind == "connect"
    return outcome.status in WORTH_ANOTHER_ATTEMPT


@lru_cache(maxsize=4096)
def _form(scopes: tuple[str, ...], tags: tuple[str, ...]) -> bytes:
    # RFC 6749, 3.3: separated by spaces. Tailscale takes commas without complaint and then grants everything.
    form = f"grant_type=client_credentials&scope={quote_plus(' '.join(scopes))}"
    # Without tags, a scope that needs some would get all that the client has; the policies' author was warned.
    return (f"{form}&tags={quote_plus(' '.join(tags))}" if tags else form).encode()


def _basic(client_id: str, secret: Secret) -> str:
    # RFC 6749, 2.3.1: both are form-encoded before they are joined.
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _no_answer(error: OutboundError) -> TailscaleUnavailableError | TailscaleAnswerError:
    if error.kind == "too_large":
        return TailscaleAnswerError(f"Tailscale's answer is larger than {LIMITS.body} bytes")
    return TailscaleUnavailableError(f"Tailscale cannot be reached: {error}", retry_after=seconds_to_wait(None))


def _fault(response: Response) -> TailscaleUnavailableError | TailscaleAnswerError:
    status = response.status
    said = f"{status}: {error_text(response.body)}"
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERRORS:
        retry_after = seconds_to_wait(response.headers.get("retry-after"))
        return TailscaleUnavailableError(f"Tailscale cannot serve now ({said})", retry_after=retry_after)
    if status == UNAUTHORIZED:
        return TailscaleAnswerError(f"Tailscale does not accept the OAuth client's id and secret ({said})")
    if status == FORBIDDEN:
        return TailscaleAnswerError(f"the OAuth client may not grant a scope that a policy allows ({said})")
    return TailscaleAnswerError(f"Tailscale refused the request for a token ({said})")
