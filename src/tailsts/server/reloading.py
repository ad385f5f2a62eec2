"""How other policies come into force while the service runs: whole, or not at all."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from tailsts.errors import RepositoryError
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.model import Generation, assemble
from tailsts.policy.places import watch
from tailsts.policy.places.sheaf import STAND_IN
from tailsts.policy.store import Loaded
from tailsts.server import process
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import Commits, Folder, Source

# A folder that vanishes is mostly being replaced; one that stays away was taken away, and with it all trust.
GONE_SECONDS = 10.0
NOBODY = assemble([], "none")
NO_POLICY = "no policy is left: nobody is trusted any more"
# A log is for what one can read.
MAX_SAID = 100

Said = Sequence[tuple[Severity, str]]


def worth_saying(findings: Iterable[Finding]) -> Said:
    """Return what the log says of policies: all but advice, the faults first."""
    found = [finding for finding in findings if finding.severity is not Severity.ADVICE]
    faults_first = sorted(found, key=lambda finding: finding.severity is not Severity.FAULT)
    return [(finding.severity, str(finding)) for finding in faults_first]


class Reloading:
    """Reads the policies anew, and puts them in force if nothing is wrong with them.

    `in_force` returns the generation that is, `put_in_force` makes another one so, in one step of the event loop.
    """

    def __init__(
        self,
        source: Source,
        in_force: Callable[[], Generation],
        put_in_force: Callable[[Generation], None],
        metrics: Metrics,
    ) -> None:
        self.faults: tuple[str, ...] = ()
        self._source = source
        self._in_force = in_force
        self._put_in_force = put_in_force
        self._metrics = metrics
        self._log = structlog.get_logger()
        self._one_at_a_time = asyncio.Lock()
        self._said: Said = ()

    def begin(self, findings: Iterable[Finding]) -> None:
        """Say what is to be said of the policies that the service starts with."""
        said = worth_saying(findings)
        self.say(said)
        # What is in force is older than what was asked for: as after a reload that failed.
        if faults := [str(finding) for finding in findings if finding.code == STAND_IN]:
            self.faults = tuple(faults)
            self._metrics.reloads["failed"] += 1

    async def reload(self, *, asked: bool = True) -> None:
        """Read the policies anew. All valid: in force from the next request on. Any fault: nothing changes.

        Where nobody `asked` for it, one that finds nothing new is not counted: a repository is looked at all the time.
        """
        # Two that read at the same time could end in the other order, and leave the older policies in force.
        async with self._one_at_a_time:
            await self._reload(asked=asked)

    async def _reload(self, *, asked: bool) -> None:
        try:
            loaded, said = await asyncio.to_thread(self._read)
        except RepositoryError as error:
            self._say_unreachable(str(error))
            self._keep([str(error)])
        except Exception:  # noqa: BLE001 - a bug of ours must not pass for a reload that went well
            self._log.exception("reading the policies failed unexpectedly")
            self._keep(["reading the policies failed unexpectedly"])
        else:
            self._take(loaded, said, asked=asked)
            await asyncio.to_thread(self._clear)

    def _read(self) -> tuple[Loaded, Said]:
        """Read the policies, and put into words what is to be said of them: of ten thousand, that takes its time."""
        with process.behind_exchanges():
            loaded = self._source.again()
            return loaded, worth_saying(loaded.findings)

    def _clear(self) -> None:
        with process.behind_exchanges():
            self._source.forget()

    async def follow(self, stop: asyncio.Event, *, seconds: float) -> None:
        """Reload when the folder changes, or every so many `seconds` from a repository, until `stop`."""
        match self._source:
            case Folder():
                await self._follow_folder(self._source, stop)
            case Commits():
                while not await _passes(stop, seconds):
                    await self.reload(asked=False)

    async def _follow_folder(self, folder: Folder, stop: asyncio.Event) -> None:
        farewell: asyncio.Task[None] | None = None
        async for _ in watch.changes(folder.path, stop, self._report, since=folder.seen):
            await self.reload(asked=False)
            if not folder.is_there() and (farewell is None or farewell.done()):
                farewell = asyncio.create_task(self._give_up_on(folder, stop))
        if farewell is not None:
            await farewell

    async def _give_up_on(self, folder: Folder, stop: asyncio.Event) -> None:
        """Trust nobody any more, unless the folder is back in time."""
        for _ in range(int(GONE_SECONDS)):
            if await _passes(stop, 1.0) or folder.is_there():
                return
        self._log.error("the folder of the policies is gone: nobody is trusted any more")
        self._put_in_force(NOBODY)

    def say(self, said: Said) -> None:
        """Say what is to be said of policies: once, as long as it is the same."""
        if said == self._said:
            return
        self._said = said
        for severity, text in said[:MAX_SAID]:
            say = self._log.error if severity is Severity.FAULT else self._log.warning
            say("policy", finding=text)
        if len(said) > MAX_SAID:
            self._log.warning(
                "more is to be said of the policies: tailsts check says all of it", more=len(said) - MAX_SAID
            )

    def _take(self, loaded: Loaded, said: Said, *, asked: bool) -> None:
        self.say(said)
        generation = loaded.generation
        if generation is None:
            self._keep([text for severity, text in said if severity is Severity.FAULT])
            return
        self.faults = () if generation.policies else (NO_POLICY,)
        if asked or generation.digest != self._in_force().digest:
            self._metrics.reloads["ok"] += 1
        # A commit that was read before is that very generation.
        if generation is not self._in_force():
            self._put_in_force(generation)
            self._log.info("policies reloaded", policies=len(generation.policies), generation=generation.digest)
            if not generation.policies:
                self._log.warning(NO_POLICY)

    def _keep(self, faults: Sequence[str]) -> None:
        is_new = tuple(faults) != self.faults
        self.faults = tuple(faults)
        self._metrics.reloads["failed"] += 1
        if is_new:
            self._log.error("policies not reloaded: the old ones stay in force", faults=len(faults))

    def _say_unreachable(self, reason: str) -> None:
        if self.faults != (reason,):
            self._log.warning("the repository of the policies cannot be read", reason=reason)

    def _report(self, trouble: str) -> None:
        self._log.warning("watching the policies", trouble=trouble)


async def _passes(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so many seconds; return whether `stop` was set meanwhile."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
