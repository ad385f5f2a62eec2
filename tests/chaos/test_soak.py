"""Half a minute of the soak that `./dev soak` runs for ten: everything fails in turn, under load."""

import subprocess
import sys
from pathlib import Path

from fakes.pages import ROOT

SECONDS = "30"


def test_soak(tmp_path: Path) -> None:
    """Two workers, one of which is killed: no answer that was not promised, no wrong scope, a line for each answer."""
    # Memory is judged after ten minutes: in the first one it is still growing into its caches.
    options = [SECONDS, "--workers", "2", "--rate", "300", "--growth", "100", "--csv", str(tmp_path / "memory.csv")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "soak.py"), *options],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout.endswith("all as promised\n")
