"""Runs targets under atheris: `python -m fuzz.run [TARGET] [SECONDS]`, from the repository's root.

What is new goes to `.dev/fuzz/TARGET`, and an input that breaks a promise beside it. `--keep` puts what reaches more
than the kept corpus does into that, where tests run it; `--seed` makes its first inputs anew.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "fuzz" / "corpus"
FRESH = ROOT / ".dev" / "fuzz"
TARGETS = ("token", "jwks", "wire", "policy")
FLAGS = {"--keep", "--seed", "--here"}
SECONDS = 60
WRONG = 2
# Longer than any of them may be, so that limits are met as well.
MAX_LENGTH = {"token": 20_000, "jwks": 20_000, "wire": 20_000, "policy": 17_000}
# An input that takes this many seconds is a finding, and so is a process that holds this many mebibytes.
SLOW_SECONDS, MEBIBYTES = 10, 1024
MAX_KEPT_LENGTH = 4096


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for."""
    flags = {word for word in arguments if word.startswith("--")}
    words = [word for word in arguments if word not in flags]
    seconds = next((int(word) for word in words if word.isdigit()), SECONDS)
    targets = [word for word in words if not word.isdigit()] or list(TARGETS)
    if not flags <= FLAGS:
        print(__doc__, file=sys.stderr)
        return WRONG
    for target in targets:
        if target not in TARGETS:
            print(f"no such target: {ascii(target)[1:-1]}; there are {', '.join(TARGETS)}", file=sys.stderr)
            return WRONG
    return max([_run(target, seconds, flags) for target in targets])


def _run(target: str, seconds: int, flags: set[str]) -> int:
    print(f"--- {target}", flush=True)
    if "--seed" in flags:
        write_seeds(target)
    elif "--keep" in flags:
        keep(target)
    elif "--here" in flags:
        fuzz(target, seconds)
    else:
        # In a process of its own: libFuzzer ends the one that it runs in.
        return subprocess.call([sys.executable, "-m", "fuzz.run", target, str(seconds), "--here"], cwd=ROOT)
    return 0


def write_seeds(target: str) -> None:
    """Write the first inputs anew."""
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    made: dict[str, bytes] = importlib.import_module("fuzz.seeds").SEEDS[target]()
    for name, data in made.items():
        (CORPUS / target / f"seed-{name}").write_bytes(data)


def fuzz(target: str, seconds: int) -> None:
    """Fuzz in this process, and end it."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - tests do without

    name = f"fuzz.{target}"
    plain = importlib.import_module(name)
    modules: list[str] = plain.MODULES
    # What was imported without instruments has to be imported anew; the libraries are not ours to cover.
    for known in [known for known in sys.modules if known == name or known.partition(".")[0] == "tailsts"]:
        del sys.modules[known]
    with atheris.instrument_imports(include=modules):
        check = importlib.import_module(name).check
    fresh = FRESH / target
    fresh.mkdir(parents=True, exist_ok=True)
    words = FRESH / f"{target}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in plain.WORDS))
    options = [
        f"-dict={words}",
        f"-max_total_time={seconds}",
        f"-max_len={MAX_LENGTH[target]}",
        f"-timeout={SLOW_SECONDS}",
        f"-rss_limit_mb={MEBIBYTES}",
        f"-artifact_prefix={FRESH}/{target}-",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([target, *options, str(fresh), str(CORPUS / target)], check)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def keep(target: str) -> None:
    """Put into the kept corpus what reaches something in our code that nothing in it reaches: the shortest of each."""
    check = importlib.import_module(f"fuzz.{target}").check
    kept, found = ([*folder.iterdir()] for folder in (CORPUS / target, FRESH / target))
    reached: set[object] = set()
    for path in [*sorted(kept), *sorted(found, key=lambda path: path.stat().st_size)]:
        steps = _steps(check, path.read_bytes())
        if not steps <= reached and path in found and path.stat().st_size <= MAX_KEPT_LENGTH:
            (CORPUS / target / path.name[:12]).write_bytes(path.read_bytes())
        reached |= steps


def _steps(check: Callable[[bytes], None], data: bytes) -> set[object]:
    """Return every step from line to line in our code that the input leads to."""
    measured = coverage.Coverage(
        data_file=None, branch=True, include=[f"{ROOT}/src/tailsts/*"], config_file=False, messages=False
    )
    with measured.collect():
        check(data)
    found = measured.get_data()
    return {(name, step) for name in found.measured_files() for step in found.arcs(name) or ()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
