"""Log files, read line by line: whatever their size, compressed or not, within bounded memory."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from tailsts.errors import FileError

STANDARD_INPUT = "-"
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open a file, or standard input, for reading; what gzip has compressed is decompressed.

    Raises:
        FileError: it cannot be read, or (while it is read) is no whole gzip file.
    """
    try:
        with sys.stdin.buffer if name == STANDARD_INPUT else Path(name).open("rb") as file:
            buffered = cast("io.BufferedReader", file)
            if buffered.peek(len(_GZIP)).startswith(_GZIP):
                with gzip.GzipFile(fileobj=buffered) as plain:
                    yield cast("IO[bytes]", plain)
            else:
                yield buffered
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise FileError("is not a whole gzip file") from None
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise FileError("is not the name of a file") from None


def bounded_lines(file: IO[bytes], limit: int) -> Iterator[bytes]:
    """Yield the lines with their ends; of one that is longer than `limit`, no more than one byte beyond it."""
    while line := file.readline(limit + 1):
        yield line
        while len(line) > limit and not line.endswith(b"\n"):
            line = file.readline(limit + 1) or b"\n"
