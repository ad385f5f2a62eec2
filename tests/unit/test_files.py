"""Files that somebody named: what is read of them, and what is not a file to read."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tailsts.errors import FileError
from tailsts.files import read_bounded


def fault(path: Path, limit: int = 10, *, refuse_world_writable: bool = False) -> str:
    """Return why the file is not read."""
    with pytest.raises(FileError) as caught:
        read_bounded(path, limit, refuse_world_writable=refuse_world_writable)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x", b"\x00\xff\r\n", b"0123456789"])
def test_reads_what_is_there(tmp_path: Path, content: bytes) -> None:
    """A file of at most the limit is read whole, as it is."""
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_bounded(path, 10) == content


def test_follows_a_link(tmp_path: Path) -> None:
    """A link to a file, as Kubernetes mounts secrets, is as good as the file."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 10) == b"x"


@pytest.mark.parametrize("size", [11, 1024**4])
def test_p16_too_large(tmp_path: Path, size: int) -> None:
    """P-16: one byte more than the limit is too much, and of a terabyte no more is read than that."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(size)
    assert fault(path) == "is larger than 10 bytes"


def listen(path: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _path: None, "cannot be read: No such file or directory"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read: No such file or directory"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (listen, "cannot be read: No such device or address"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    ],
)
def test_p16_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """P-16: what is missing or no regular file is told at once, and a FIFO without a writer is not waited for."""
    path = tmp_path / "file"
    make(path)
    assert fault(path) == said


def test_p16_a_directory(tmp_path: Path) -> None:
    """P-16: a directory is no file."""
    assert fault(tmp_path) == "is not a regular file"
    assert fault(tmp_path / "missing" / "file") == "cannot be read: No such file or directory"


def test_p16_a_fifo_with_a_writer(tmp_path: Path) -> None:
    """P-16: a FIFO that somebody writes to is no file either: what it gives cannot be read twice."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, b"x")
    assert fault(path) == "is not a regular file"
    os.close(descriptor)


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o600, False), (0o644, False), (0o660, False), (0o666, True), (0o602, True)]
)
def test_p16_what_anybody_may_write(tmp_path: Path, mode: int, refused: bool) -> None:
    """P-16: where it matters who decided, a file that everybody may change is refused; elsewhere it is read."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(mode)
    assert read_bounded(path, 10) == b"x"
    if refused:
        said = "can be changed by everybody on this machine; chmod o-w it"
        assert fault(path, refuse_world_writable=True) == said
    else:
        assert read_bounded(path, 10, refuse_world_writable=True) == b"x"


def test_p16_the_file_counts_and_not_the_link(tmp_path: Path) -> None:
    """P-16: links can be changed by everybody by their nature; it is the file behind one that must not be."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 10, refuse_world_writable=True) == b"x"


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, os.mkfifo, Path.touch, lambda path: path.write_bytes(b"x" * 11), lambda path: path.touch(0o666)],
)
def test_no_descriptor_is_left_open(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whatever comes of it, the file is closed again: a key file is read anew for as long as the service runs."""
    path = tmp_path / "file"
    make(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with suppress(FileError):
            read_bounded(path, 10, refuse_world_writable=True)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
