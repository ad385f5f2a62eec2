"""What must never be written anywhere: noted as the tests make it, looked for when all tests have run."""

import threading
from pathlib import Path

_lock = threading.Lock()
_secrets: set[str] = set()
_written: set[Path] = set()
_texts: list[str] = []


def note_secret(text: str) -> None:
    """Remember a secret: a minted token, a signature, a client secret."""
    with _lock:
        _secrets.add(text)


def note_output(path: Path) -> None:
    """Remember a file, or a folder of files, that the program under test wrote."""
    with _lock:
        _written.add(path)


def note_text(text: str) -> None:
    """Remember what the program under test said elsewhere than in a file."""
    with _lock:
        _texts.append(text)


def texts() -> tuple[str, ...]:
    """Return all that was said elsewhere."""
    return tuple(_texts)


def secrets() -> frozenset[str]:
    """Return all secrets of this run."""
    return frozenset(_secrets)


def outputs() -> list[Path]:
    """Return all files that were written in this run and are still there."""
    found = []
    for path in sorted(_written):
        found += [child for child in path.rglob("*") if child.is_file()] if path.is_dir() else [path]
    return [path for path in found if path.exists()]
