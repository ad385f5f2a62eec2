"""The keys of each trusted issuer, kept fresh: runs the rules of `tailsts.oidc.freshness`.

One cache for each pair of issuer and key source. Only what a policy names is ever contacted: nothing of a token
leads to an outgoing request, except that an unknown key id may bring forward the fetch of its issuer's keys.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

import msgspec

from tailsts.errors import FileError, KeySetError, KeysUnavailableError, OutboundError, StrictJsonError
from tailsts.files import read_bounded
from tailsts.oidc import freshness
from tailsts.oidc.freshness import Freshness, Rules, Verdict
from tailsts.oidc.keys import KeySet, normalise
from tailsts.oidc.source import Discovery, JwksFile, JwksText, JwksUrl, KeySource, discovery_url, refuse_url
from tailsts.outbound import HTTP_OK, Limits, Outbound
from tailsts.strictjson import decode as decode_json

# 512 KiB is fifty times the largest public key set; five seconds are what a waiting request can bear.
LIMITS = Limits(connect=3.0, total=5.0, body=512 * 1024)
# Anybody can make up a kid and wait for a fetch: of each issuer so many, a part of what may be in flight, so that those
# of other issuers have room while this one hangs.
MAX_WAITING = 200


class FetchReport(msgspec.Struct, frozen=True):
    """What came of one attempt to fetch keys: for logs and metrics. `fault` is None after a success.

    `family` is the pattern by which alone the issuer is named, if any: strangers may choose its name.
    """

    issuer: str
    source: KeySource
    keys: KeySet | None
    fault: str | None
    family: str = ""


class KeyCache:
    """The key set of one issuer from one source. `monotonic` gives seconds; `report` hears of each attempt.

    No more than `max_waiting` wait for a fetch at a time.
    """

    def __init__(
        self,
        issuer: str,
        source: KeySource,
        outbound: Outbound,
        *,
        rules: Rules,
        monotonic: Callable[[], float],
        report: Callable[[FetchReport], None],
    ) -> None:
        self.issuer = issuer
        self.source, self._first_content = _parted(source)
        self.state = Freshness()
        self.keys: KeySet | None = None
        self.fault: str | None = None
        self._outbound = outbound
        self._rules = rules
        self._monotonic = monotonic
        self._report = report
        self._attempt: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()
        self.max_waiting = MAX_WAITING
        self._waiting = 0

    def start(self) -> None:
        """Fetch now and from time to time, in the background, until `stop`."""
        self._timer = asyncio.create_task(self._refresh_for_ever())

    def stop(self) -> None:
        """End the timer. A fetch that is under way is left to its deadline: somebody may be waiting for it."""
        if self._timer is not None:
            self._timer.cancel()

    def cached(self, key_id: str | None) -> KeySet | None:
        """Return the key set if it can judge a token with this `kid` at once, else None."""
        keys = self.keys
        if keys is None or not keys.knows(key_id):
            return None
        return keys if freshness.is_usable(self.state, self._rules, self._monotonic()) else None

    async def keys_for(self, key_id: str | None) -> KeySet:
        """Return the key set to judge a token with this `kid` by, after a fetch if the rules want one.

        The set may lack the key: then the issuer has just said that it does not have it.

        Raises:
            KeysUnavailableError: nobody can say now whether the issuer has such a key.
        """
        if self._assess(key_id) in {Verdict.FETCH, Verdict.WAIT}:
            if self._waiting >= self.max_waiting:
                raise KeysUnavailableError(f"too many wait for keys of {self.issuer}", retry_after=1)
            self._waiting += 1
            try:
                await self._fetch(demanded=True)
            finally:
                self._waiting -= 1
        # After a fetch that ended just now, "the issuer does not have it" is an answer too.
        known = self.keys is not None and self.keys.knows(key_id)
        if self.keys is not None and self.is_usable() and (known or self.state.failures == 0):
            return self.keys
        raise self._unavailable()

    def require_usable(self) -> None:
        """Raise KeysUnavailableError unless there are keys, young enough to be used."""
        if not self.is_usable():
            raise self._unavailable()

    def is_usable(self) -> bool:
        """Return whether there are keys, young enough to be used."""
        return freshness.is_usable(self.state, self._rules, self._monotonic())

    def age(self) -> float | None:
        """Return the age of the keys in seconds, or None if there are none."""
        fetched_at = self.state.fetched_at
        return None if fetched_at is None else self._monotonic() - fetched_at

    def _unavailable(self) -> KeysUnavailableError:
        return KeysUnavailableError(
            f"no keys of {self.issuer}: {self.fault}",
            retry_after=freshness.retry_after(self.state, self._rules, self._monotonic()),
        )

    def _assess(self, key_id: str | None) -> Verdict:
        known = self.keys is not None and self.keys.knows(key_id)
        return freshness.assess(self.state, self._rules, self._monotonic(), known=known)

    async def _refresh_for_ever(self) -> None:
        while True:
            # A fetch that a request caused and that failed is made again soon: then the timer's time comes earlier.
            self._failed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(freshness.next_refresh(self.state, self._rules, self._monotonic())):
                    await self._failed.wait()
            if freshness.next_refresh(self.state, self._rules, self._monotonic()) <= 0:
                await self._fetch(demanded=False)

    async def _fetch(self, *, demanded: bool) -> None:
        """Take part in the fetch that is under way, or begin one. A caller that leaves does not end it."""
        if self._attempt is None or self._attempt.done():
            self.state = freshness.started(self.state, self._monotonic(), demanded=demanded)
            self._attempt = asyncio.create_task(self._attempt_once())
        await asyncio.shield(self._attempt)

    async def _attempt_once(self) -> None:
        try:
            keys = await self._read()
        except (KeySetError, OutboundError, FileError) as error:
            self._settle(None, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the timer must live on and try again
            self._settle(None, f"unexpected {type(error).__name__}")
        else:
            self._settle(keys, None)

    def _settle(self, keys: KeySet | None, fault: str | None) -> None:
        now = self._monotonic()
        if keys is None:
            self.state = freshness.failed(self.state, now)
            self._failed.set()
        else:
            self.state = freshness.succeeded(self.state, now)
            self.keys = keys
        self.fault = fault
        self._report(FetchReport(self.issuer, self.source, keys, fault))

    async def _read(self) -> KeySet:
        try:
            return self._usable(await self._document())
        except (KeySetError, FileError):
            # As it was when the policies were read: a worker that takes another one's place begins with what that had.
            if self.keys is None and self._first_content:
                return self._usable(self._first_content)
            raise

    def _usable(self, document: bytes) -> KeySet:
        keys = normalise(document)
        if not len(keys):
            # Never an answer: every issuer that signs has a key, so this is its fault and not its word.
            raise KeySetError(f"the key set holds no usable key ({len(keys.dropped)} were dropped)")
        return keys

    async def _document(self) -> bytes:
        match self.source:
            case JwksUrl(url=url):
                return await self._get(url)
            case Discovery(allow_http=allow_http):
                return await self._get(await self._discover(allow_http=allow_http))
            case JwksText(text=text):
                return text
            case JwksFile(path=path):
                return await asyncio.to_thread(read_bounded, path, LIMITS.body, refuse_world_writable=True)
            case _:
                assert_never(self.source)

    async def _discover(self, *, allow_http: bool) -> str:
        """Return the issuer's `jwks_uri` (OpenID Connect Discovery 1.0, 4.2 and 4.3). Never guessed."""
        try:
            document = decode_json(await self._get(discovery_url(self.issuer)))
        except StrictJsonError as error:
            raise KeySetError(f"the discovery document is {error}") from None
        if not isinstance(document, dict) or document.get("issuer") != self.issuer:
            raise KeySetError("the discovery document is that of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise KeySetError("the discovery document names no jwks_uri")
        if reason := refuse_jwks_uri(self.issuer, url, allow_http=allow_http):
            raise KeySetError(f"the discovery document names a jwks_uri that is refused: {reason}")
        return url

    async def _get(self, url: str) -> bytes:
        response = await self._outbound.get(url)
        if response.status != HTTP_OK:
            raise KeySetError(f"the answer to {url} has the status {response.status}")
        return response.body


def _parted(source: KeySource) -> tuple[KeySource, bytes]:
    """Return the source, and the content if it has one: the log remembers each source that it was ever told of."""
    if isinstance(source, JwksFile):
        return msgspec.structs.replace(source, content=b""), source.content
    return source, b""


def refuse_jwks_uri(issuer: str, url: str, *, allow_http: bool) -> str | None:
    """Return why the `jwks_uri` of the issuer's discovery document must not be asked, or None if it may be.

    Another host is common (Google, Entra) and https proves it. Plain http on loopback is only for an issuer that is
    there itself: a document from elsewhere must not send us to a service on this machine.
    """
    if issuer.startswith("https://") and url.startswith("http://") and not allow_http:
        return "it is plain http, and its issuer is not"
    return refuse_url(url, allow_http=allow_http)
