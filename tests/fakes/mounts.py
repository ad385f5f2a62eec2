"""Programs that have other mounts than we have, where the operating system lets us give them some."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import tailsts
from fakes.service import environment

_ALONE = ("unshare", "--map-root-user", "--mount")


def run_with_mounts(script: str, *arguments: str | bytes | Path) -> str:
    """Return what this Python program prints that may mount and unmount what it likes, for itself alone.

    It finds `mount(from, to)`, which shows a folder at the place of another one, and `unmount(place)`. The test is
    skipped where that is not allowed.
    """
    if not _may_mount():
        pytest.skip("no mounts of our own here")
    done = subprocess.run(
        [*_ALONE, sys.executable, "-c", _MOUNTING + script, *arguments],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(Path(tailsts.__file__).parents[1])),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


_MOUNTING = """
import ctypes, os, sys
_libc = ctypes.CDLL(None, use_errno=True)

def mount(source, target):
    bind = 4096
    if _libc.mount(os.fsencode(source), os.fsencode(target), None, bind, None):
        raise OSError(ctypes.get_errno(), "cannot mount")

def unmount(target):
    if _libc.umount(os.fsencode(target)):
        raise OSError(ctypes.get_errno(), "cannot unmount")
"""


@cache
def _may_mount() -> bool:
    try:
        script = _MOUNTING + "mount('/usr', '/usr')"
        tried = subprocess.run([*_ALONE, sys.executable, "-c", script], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return not tried.returncode
