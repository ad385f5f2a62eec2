"""How other policies come into force while the service runs: whole, or not at all."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from tailsts.errors import RepositoryError
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.model import Generation, assemble
from tailsts.policy.places import watch
from tailsts.policy.places.sheaf import STAND_IN, Sheaf
from tailsts.policy.store import Loaded, warnings
from tailsts.server import process
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import LOOK_SECONDS, Commits, Folder, Source

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
    `sheaf` is what the one in force was made of, None if nobody is trusted because the folder is gone.
    """

    def __init__(
        self,
        source: Source,
        in_force: Callable[[], Generation],
        put_in_force: Callable[[Generation], None],
        metrics: Metrics,
    ) -> None:
        self.faults: tuple[str, ...] = ()
        self.sheaf: Sheaf | None = None
        self._source = source
        self._in_force = in_force
        self._put_in_force = put_in_force
        self._metrics = metrics
        self._log = structlog.get_logger()
        self._one_at_a_time = asyncio.Lock()
        self._said: Said = ()
        self._waiting: asyncio.Task[None] | None = None

    def begin(self, findings: Iterable[Finding], sheaf: Sheaf | None = None) -> None:
        """Say what is to be said of the policies that the service starts with, which were made of `sheaf`."""
        self.sheaf = sheaf
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
            self._keep([str(error)], asked=asked)
        except Exception:  # noqa: BLE001 - a bug of ours must not pass for a reload that went well
            self._log.exception("reading the policies failed unexpectedly")
            self._keep(["reading the policies failed unexpectedly"], asked=asked)
        else:
            self._take(loaded, said, asked=asked)
            await self._after(loaded)
        if self._source.is_being_written and (self._waiting is None or self._waiting.done()):
            self._waiting = asyncio.create_task(self._wait_for_rest())

    async def _after(self, loaded: Loaded) -> None:
        """Do what can wait until the policies are in force."""
        try:
            await asyncio.to_thread(self._clear)
            if loaded.later is not None:
                self.say(await asyncio.to_thread(self._judge, loaded))
        except Exception:  # noqa: BLE001 - a bug of ours must not end the watch over the policies
            self._log.exception("judging the policies failed unexpectedly")

    async def _wait_for_rest(self) -> None:
        """Look again at what was being written until it is not, and reload: nobody says when a file is closed."""
        while self._source.is_being_written:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._one_at_a_time:
                if await asyncio.to_thread(self._source.rests):
                    await self._reload(asked=False)

    def _read(self) -> tuple[Loaded, Said]:
        """Read the policies, and put into words what is to be said of them: of ten thousand, that takes its time."""
        with process.behind_exchanges():
            loaded = self._source.again()
            return loaded, worth_saying(loaded.findings)

    def _judge(self, loaded: Loaded) -> Said:
        """Find out what is to be warned about, when the policies are in force: that takes as long as reading them."""
        with process.behind_exchanges():
            return worth_saying(warnings(loaded))

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
        if not folder.is_there():
            # It went before this process began, with what others had in force: nobody will say so again.
            farewell = asyncio.create_task(self._give_up_on(folder, stop))
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
        self.sheaf = None
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
        if loaded.later is None:
            self.say(said)
        generation = loaded.generation
        if generation is None:
            self._keep([text for severity, text in said if severity is Severity.FAULT], asked=asked)
            return
        had_faults, self.faults = bool(self.faults), () if generation.policies else (NO_POLICY,)
        if asked or generation.digest != self._in_force().digest:
            self._metrics.reloads["ok"] += 1
        # A commit that was read before is that very generation, and a folder may look as if something had changed.
        if generation is not self._in_force() and (asked or generation.digest != self._in_force().digest):
            self.sheaf = loaded.sheaf
            self._put_in_force(generation)
            self._log.info("policies reloaded", policies=len(generation.policies), generation=generation.digest)
            if not generation.policies:
                self._log.warning(NO_POLICY)
        elif had_faults and not self.faults:
            self._log.info("the policies are in order again: those in force stay", generation=generation.digest)

    def _keep(self, faults: Sequence[str], *, asked: bool) -> None:
        is_new = tuple(faults) != self.faults
        self.faults = tuple(faults)
        self._metrics.reloads["failed"] += 1
        if is_new or asked:
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
