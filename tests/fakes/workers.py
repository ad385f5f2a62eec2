"""The workers of a running service, as the operating system sees them."""

from dataclasses import dataclass
from pathlib import Path

from fakes.service import Service


@dataclass(frozen=True)
class TakenAway:
    """A file that is somewhere else now. In its place is a link, and each change of it is one step."""

    place: Path
    elsewhere: Path


def take_away(path: Path) -> TakenAway:
    """Take a file away that workers need to start: who has it open goes on."""
    taken = TakenAway(path, path.with_name("elsewhere"))
    path.rename(taken.elsewhere)
    path.symlink_to(path.parent)
    return taken


def lead_nowhere(taken: TakenAway) -> None:
    """Let the link in its place lead to where no file can be made; before, it leads to a folder."""
    link = taken.place.with_name("link")
    link.symlink_to("/nowhere/at/all")
    link.replace(taken.place)


def give_back(taken: TakenAway) -> None:
    """Put the file back."""
    taken.elsewhere.replace(taken.place)


def processes(service: Service) -> list[int]:
    """Return the process ids of the workers that run."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def descriptors_of(pid: int) -> int:
    """Return how many files and connections a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def is_running(pid: int) -> bool:
    """Return whether there is such a process, and it has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
