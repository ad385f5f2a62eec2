"""Whether a file is open for writing: what the operating system says, and that asking does no harm."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.mounts import run_with_mounts
from tailsts.policy.places.writers import has_writer, is_remote

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

NOBODY = 65534
# Opens the file again and again, as editors do, until it is told to end.
WRITE = """
import sys
print(flush=True)
for _ in range(int(sys.argv[2])):
    with open(sys.argv[1], "a") as file:
        file.write("x")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file."""
    made = tmp_path / "a.toml"
    made.write_text("x")
    return made


@pytest.mark.parametrize(("mode", "expected"), [("r", False), ("a", True), ("r+", True), ("w", True)])
def test_an_open_file(path: Path, mode: str, expected: bool) -> None:
    """A file has a writer as long as somebody has it open for writing, whether anything is written or not."""
    assert has_writer(str(path)) is False
    with path.open(mode):
        assert has_writer(str(path)) is expected
    assert has_writer(str(path)) is False


def test_a_file_that_is_mapped(path: Path) -> None:
    """A file that was closed and is written through memory has a writer."""
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 1)
    assert has_writer(str(path)) is True
    mapped.close()
    assert has_writer(str(path)) is False


def test_what_cannot_be_told(tmp_path: Path) -> None:
    """Of what is not there, and of what is no file, nothing is told, and nothing is waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert has_writer(str(tmp_path / "pipe")) is None
    assert has_writer(str(tmp_path / "missing")) is None


def test_a_file_of_somebody_else() -> None:
    """Of another user's file nothing is told to who may not lease what is not theirs."""
    if os.geteuid() != 0:
        assert has_writer("/etc/passwd") is None
        return
    child = os.fork()
    if not child:
        os.setuid(NOBODY)
        os._exit(0 if has_writer("/etc/passwd") is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_who_opens_it_meanwhile_waits_for_nothing(path: Path) -> None:
    """While it is asked about again and again, a file can be opened for writing, and nobody is ended by a signal."""
    times, seen = 3000, set()
    with subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(times)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while writer.poll() is None:
            seen.add(has_writer(str(path)))
    assert (writer.returncode, len(path.read_text())) == (0, times + 1)
    assert seen == {True, False}


MOUNTS = b"""\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
38 22 0:40 / /mnt/policies rw,relatime shared:7 master:3 - nfs4 server:/policies rw,vers=4.2
39 22 0:41 / /mnt/with\\040space rw - cifs //server/share rw
41 22 0:42 / /mnt/caf\xe9-\x0c-\xc2\x85-\r-\xe2\x80\xa8 rw - ext4 /dev/vdb rw
42 22 0:43 / /mnt/after rw - smb3 //server/share rw
40 22 0:4 / /proc rw - proc proc rw
"""


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ((254, 0), False),
        ((0, 40), True),
        ((0, 41), True),
        ((0, 42), False),
        ((0, 43), True),
        ((0, 4), False),
        ((0, 99), False),
    ],
)
def test_files_of_another_machine(device: tuple[int, int], expected: bool) -> None:
    """Where a server decides about leases, that there is none does not say that somebody writes."""
    assert is_remote(os.makedev(*device), MOUNTS) is expected


WRITING_BESIDE_A_MOUNT = """
from tailsts.policy.places.writers import has_writer
mount(sys.argv[1], sys.argv[1])
with open(sys.argv[2], "w"):
    print(has_writer(sys.argv[2]))
"""


def test_a_mount_with_any_name(tmp_path: Path, path: Path) -> None:
    """Something that is mounted on a folder whose name is no text keeps nothing from being told."""
    folder = os.fsencode(tmp_path) + b"/caf\xe9 \x0c \r"
    os.mkdir(folder)  # noqa: PTH102 - no text
    assert run_with_mounts(WRITING_BESIDE_A_MOUNT, folder, path) == "True\n"


def test_nobody_is_kept_waiting(path: Path) -> None:
    """The lease is given back at once: opening for writing afterwards does not wait for the kernel to break it."""
    for _ in range(100):
        assert has_writer(str(path)) is False
        # Raises where it would have to wait.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
