"""Audit events are offered to their receiver, again and again until it takes them or is found to refuse one."""

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from tailsts.credentials import Secret
from tailsts.errors import OutboundError
from tailsts.outbound import Limits, Outbound
from tailsts.server.webhook import cloudevents
from tailsts.server.webhook.cloudevents import Receiver, Trouble

# An answer is one line, mostly none. A receiver that needs longer than this to store a batch is broken.
LIMITS = Limits(connect=3.0, total=15.0, body=64 * 1024)
MAX_EVENTS = 500
# Doubled from the first on, with chance in it, so that not all machines come back at once.
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 60.0
# One event alone that is refused as often is given up: it would keep back all that come after it. The pauses between
# these attempts see to it that a receiver that refuses everything costs one event a minute or less, not all of them.
ATTEMPTS_FOR_ONE = 3
UNAUTHORIZED = 401


class Verdict(msgspec.Struct, frozen=True):
    """What came of an offer: whether the events are done with, and for how many seconds to make no other.

    With `asked`, the receiver itself has asked for that. Of the events that are done with, `torn` were none, and
    `refused` were given up.
    """

    done: bool
    seconds: float = 0.0
    asked: bool = False
    torn: int = 0
    refused: int = 0


class Delivery:
    """Offers events to `receiver`, at most `most` of them at a time.

    `delivered` counts events that were taken, `failed` requests that were not answered 2xx. `tell` hears when it
    begins to fail (the fault) and when it works again (None). `doubted` is set when the token is not accepted.
    """

    def __init__(self, receiver: Receiver, extra_roots: tuple[bytes, ...], tell: Callable[[str | None], None]) -> None:
        self.delivered = 0
        self.failed = 0
        self.fault: str | None = None
        self.most = MAX_EVENTS
        self.doubted = asyncio.Event()
        self._receiver = receiver
        self._token = receiver.token
        self._tell = tell
        self._failures = 0
        self._refusals = 0
        self._taken_last: bytes | None = None
        self._outbound = Outbound(
            LIMITS,
            extra_roots=extra_roots,
            headers={"content-type": cloudevents.MEDIA_TYPE},
            read_headers=("retry-after",),
        )

    def adopt(self, secret: Secret) -> None:
        """Use this token from the next request on."""
        self._token = secret

    async def offer(self, lines: Sequence[bytes], witness: Callable[[], bytes | None] = lambda: None) -> Verdict:
        """Send the events, once. `witness` returns another event, that no stranger has worded, if there is one."""
        body, count = cloudevents.batch(lines, self._receiver.source)
        torn = len(lines) - count
        if not count:
            return Verdict(done=True, torn=torn)
        trouble = await self._post(body)
        if trouble is not None:
            if trouble.unclear and count == 1 and await self._takes_another(witness()):
                # So it is about this one. To be patient would let strangers hold up all others, an event each.
                self.failed += 1
                self._works()
                return Verdict(done=True, torn=torn, refused=1)
            return self._refused(count, torn, trouble)
        self.delivered += count
        self.most = min(MAX_EVENTS, self.most * 2)
        self._taken_last = lines[-1]
        self._works()
        return Verdict(done=True, torn=torn)

    def postpone(self, trouble: Trouble) -> Verdict:
        """Note a failure, and return for how long to wait."""
        self.failed += 1
        self._note(trouble.fault)
        seconds = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        # Half of it is chance.
        seconds *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        asked = trouble.retry_after
        return Verdict(done=False, seconds=max(seconds, asked or 0), asked=asked is not None)

    async def _post(self, body: bytes) -> Trouble | None:
        authorization = None if self._token is None else f"Bearer {self._token.reveal()}"
        try:
            response = await self._outbound.post(self._receiver.url, body, authorization=authorization)
        except OutboundError as error:
            return Trouble(f"cannot be reached: {error}")
        if response.status == UNAUTHORIZED:
            self.doubted.set()
        return cloudevents.trouble(response.status, response.headers.get("retry-after"))

    def _refused(self, count: int, torn: int, trouble: Trouble) -> Verdict:
        """Find the event that is to blame, if one may be: by halves, and then by patience."""
        if (trouble.about_content or trouble.unclear) and count > 1:
            self.failed += 1
            self.most = count // 2
            return Verdict(done=False)
        verdict = self.postpone(trouble)
        if not trouble.about_content:
            return verdict
        self._refusals += 1
        if self._refusals < ATTEMPTS_FOR_ONE:
            return verdict
        self._refusals = 0
        return Verdict(done=True, seconds=verdict.seconds, torn=torn, refused=1)

    async def _takes_another(self, witness: bytes | None) -> bool:
        """Return whether the receiver takes another event from us: what it took last, or else the witness.

        It gets that one twice, with one id, as it may get every event.
        """
        for line in (self._taken_last, witness):
            body, count = cloudevents.batch([] if line is None else [line], self._receiver.source)
            if not count:
                continue
            if await self._post(body) is None:
                self._taken_last = line
                return True
            self.failed += 1
        return False

    def _works(self) -> None:
        self._failures = self._refusals = 0
        self._note(None)

    def _note(self, fault: str | None) -> None:
        changed, self.fault = (fault is None) != (self.fault is None), fault
        if changed:
            self._tell(fault)
