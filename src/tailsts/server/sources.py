"""Where the policies come from: a folder, or a git repository. Both are read whole, and judged in the same way."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tailsts.errors import RepositoryError
from tailsts.policy.finding import Severity
from tailsts.policy.places import watch
from tailsts.policy.places.sheaf import Sheaf, key_file_of, of_commit, place_fault, place_warning
from tailsts.policy.places.steady import Steady
from tailsts.policy.store import Loaded, Memory, Options, compile_sheaf, warnings
from tailsts.server import process

if TYPE_CHECKING:
    # Loaded where there is one: it takes several megabytes.
    from tailsts.policy.places.gitfiles import Snapshot
    from tailsts.policy.places.repository import Repository

# How long is waited for what is being written, before that is said: what takes longer is looked at again and again.
# At the start for longer, for there is nothing that could stay in force instead.
PATIENCE_SECONDS = 1.0
FIRST_PATIENCE_SECONDS = 5.0
LOOK_SECONDS = 0.1


class Folder:
    """The policies in a folder. `now` gives seconds since the epoch, as the times of files do; `monotonic` any."""

    def __init__(self, path: Path, options: Options, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self.path = path
        self._steady = Steady(path, now, monotonic)
        self._monotonic = monotonic
        self._options = options
        self._memory = Memory()
        # What it looked like before it was read, so that no change goes unnoticed in between.
        self.seen: watch.View | None = None

    def first(self) -> Loaded:
        """Read it at the start: a folder without any policy is a fault, since it is most likely the wrong one."""
        self.seen = watch.look(self.path)
        return self._read(FIRST_PATIENCE_SECONDS, self._compiled_first)

    def handed_over(self, sheaf: Sheaf) -> Loaded:
        """Take what is in force in another process. Whether the folder holds something else by now is not looked at."""
        self.seen = watch.look(self.path)
        sheaf = msgspec.structs.replace(sheaf, key_file=partial(key_file_of, self.path))
        return compile_sheaf(sheaf, self._options, self._memory, may_be_empty=True)

    def again(self) -> Loaded:
        """Read it anew. Without any policy, nobody is trusted."""
        return self._read(PATIENCE_SECONDS, self._compiled)

    @property
    def is_being_written(self) -> bool:
        """Whether that was a fault of what was read last."""
        return bool(self._steady.restless)

    def rests(self) -> bool:
        """Look at what was being written; return whether it is not any more, and is to be read again."""
        return self._steady.rests()

    def forget(self) -> None:
        """Let go of the policies that are not in force any more."""
        self._memory.forget()

    def is_there(self) -> bool:
        """Return whether the folder exists."""
        return self.path.is_dir()

    def _read(self, seconds: float, compiled: Callable[[Sheaf], Loaded]) -> Loaded:
        """Read it when nothing in it is being written. What still is after so many `seconds` is a fault."""
        steady, until = self._steady, self._monotonic() + seconds
        while True:
            sheaf = steady.read()
            is_last = self._monotonic() >= until
            if is_last or not steady.restless:
                loaded = compiled(sheaf)
                # What a policy names may be being written as well, and is read only now.
                if not steady.restless:
                    steady.take(sheaf)
                if is_last or not steady.restless:
                    return loaded
            while not steady.rests() and self._monotonic() < until:
                time.sleep(LOOK_SECONDS)

    def _compiled_first(self, sheaf: Sheaf) -> Loaded:
        return compile_sheaf(sheaf, self._options, self._memory)

    def _compiled(self, sheaf: Sheaf) -> Loaded:
        with process.many_objects():
            return compile_sheaf(sheaf, self._options, self._memory, may_be_empty=True, warn_later=True)


class Commits:
    """The policies of a repository's branch, and the commit that was read last."""

    def __init__(self, repository: "Repository", place: str, options: Options) -> None:
        self._repository = repository
        self._place = place
        self._options = options
        self._memory = Memory()
        self._read: tuple[str, Loaded] | None = None
        self._has_had_policies = False

    def first(self) -> Loaded:
        """Fetch and read it. If that is not possible, or its policies do not load, read the last commit that was good.

        Without any policy it is most likely the wrong folder, and a fault; unless there were some before: that the last
        one was deleted is an answer, and what was deleted must not come back.
        """
        kept = self._repository.last_good()
        self._has_had_policies = kept is not None
        try:
            loaded = _with_warnings(self.again())
            why = next((str(found) for found in loaded.findings if found.severity is Severity.FAULT), "")
        except RepositoryError as error:
            loaded, why = Loaded(None, [place_fault(self._place, str(error))]), str(error)
        if loaded.generation is not None or kept is None:
            return loaded
        older = _with_warnings(self._compiled(kept))
        warning = place_warning(self._place, f"commit {kept.commit} serves, which was good last: {why}")
        return Loaded(older.generation, [*older.findings, warning], older.sheaf)

    def handed_over(self, sheaf: Sheaf) -> Loaded:
        """Take what is in force in another process: that has had policies, so none is an answer."""
        self._has_had_policies = True
        loaded = compile_sheaf(sheaf, self._options, self._memory, may_be_empty=True)
        if sheaf.commit is not None and loaded.generation is not None:
            self._read = sheaf.commit, loaded
        return loaded

    @property
    def is_being_written(self) -> bool:
        """A commit never is."""
        return False

    def rests(self) -> bool:
        """Return whether what was being written is not any more."""
        return True

    def again(self) -> Loaded:
        """Fetch, and read what is new.

        Raises:
            RepositoryError: it cannot be fetched.
        """
        loaded = self._compiled(self._repository.fetch(lambda found: self._compiled(found).generation is not None))
        self._has_had_policies |= loaded.generation is not None
        return loaded

    def forget(self) -> None:
        """Let go of the policies that are not in force any more."""
        self._memory.forget()

    def _compiled(self, snapshot: "Snapshot") -> Loaded:
        if self._read is None or self._read[0] != snapshot.commit:
            sheaf = of_commit(self._place, snapshot.commit, snapshot.files, snapshot.passed_over)
            with process.many_objects():
                loaded = compile_sheaf(
                    sheaf, self._options, self._memory, may_be_empty=self._has_had_policies, warn_later=True
                )
            self._read = snapshot.commit, loaded
        return self._read[1]


def _with_warnings(loaded: Loaded) -> Loaded:
    return msgspec.structs.replace(loaded, findings=warnings(loaded), later=None)


Source = Folder | Commits
