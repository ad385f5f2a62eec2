"""Where the policies come from: a folder, or a git repository. Both are read whole, and judged in the same way."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tailsts.errors import RepositoryError
from tailsts.policy.finding import Severity
from tailsts.policy.places import watch
from tailsts.policy.places.sheaf import Sheaf, of_commit, place_fault, place_warning, read_folder
from tailsts.policy.store import Loaded, Memory, Options, compile_sheaf
from tailsts.server import process

if TYPE_CHECKING:
    # Loaded where there is one: it takes several megabytes.
    from tailsts.policy.places.gitfiles import Snapshot
    from tailsts.policy.places.repository import Repository

# A file that is being written is not a policy yet: a folder is read again until its files are older than this.
STEADY_SECONDS = 0.1
MAX_READINGS = 6


class Folder:
    """The policies in a folder. `now` gives seconds since the epoch, as the times of files do."""

    def __init__(self, path: Path, options: Options, now: Callable[[], float]) -> None:
        self.path = path
        self._now = now
        self._options = options
        self._memory = Memory()
        # What it looked like before it was read, so that no change goes unnoticed in between.
        self.seen: watch.View | None = None

    def first(self) -> Loaded:
        """Read it at the start: a folder without any policy is a fault, since it is most likely the wrong one."""
        self.seen = watch.look(self.path)
        return compile_sheaf(read_folder(self.path), self._options, self._memory)

    def again(self) -> Loaded:
        """Read it anew, when it does not change any more. Without any policy, nobody is trusted."""
        sheaf = self._steady()
        with process.many_objects():
            return compile_sheaf(sheaf, self._options, self._memory, may_be_empty=True)

    def forget(self) -> None:
        """Let go of the policies that are not in force any more."""
        self._memory.forget()

    def is_there(self) -> bool:
        """Return whether the folder exists."""
        return self.path.is_dir()

    def _steady(self) -> Sheaf:
        sheaf = read_folder(self.path)
        for _ in range(MAX_READINGS):
            # The clock of a file server may be another one: what is younger than now is as good as old.
            if not 0 <= self._now() - sheaf.changed_at < STEADY_SECONDS:
                break
            time.sleep(STEADY_SECONDS)
            sheaf = read_folder(self.path)
        return sheaf


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
            loaded = self.again()
            why = next((str(found) for found in loaded.findings if found.severity is Severity.FAULT), "")
        except RepositoryError as error:
            loaded, why = Loaded(None, [place_fault(self._place, str(error))]), str(error)
        if loaded.generation is not None or kept is None:
            return loaded
        older = self._compiled(kept)
        warning = place_warning(self._place, f"commit {kept.commit} serves, which was good last: {why}")
        return Loaded(older.generation, [*older.findings, warning])

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
            sheaf = of_commit(self._place, snapshot.commit, snapshot.files)
            with process.many_objects():
                loaded = compile_sheaf(sheaf, self._options, self._memory, may_be_empty=self._has_had_policies)
            self._read = snapshot.commit, loaded
        return self._read[1]


Source = Folder | Commits
