"""Searches for the dearest evaluation of a condition that is let through.

Authors put every operation into every kind of loop; strangers send tokens of every shape, as large as the estimate of
the cost still lets pass, up to 16 KiB. Prints the slowest evaluations, those that are dearest beside their estimate,
and the most memory that one took. Run it when the CEL library changes: `python bench/conditions.py [SECONDS]`.
"""

import ctypes
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tailsts.policy.cel.cost import BUDGET, estimate, measure
from tailsts.policy.cel.expression import Expression, ExpressionError, Undecided, compile_expression

LARGEST = 16_384
NOW = 1_755_351_300.0
STATUS = Path("/proc/self/status")

# Each is false or an error, so that `||` and `exists` go on.
OPERATIONS = (
    "x == 'a'",
    "x == claims.s",
    "claims.s == claims.t",
    "claims.l != claims.l",
    "claims != claims",
    "claims.l == claims.k",
    "claims.s < claims.t",
    "'~' in claims.l",
    "claims.l in claims.l",
    "claims.l in [claims.l, claims.k, claims.l]",
    "claims.s in claims",
    "claims.s in {claims.s: 1, claims.t: 2}",
    "claims[claims.s] == 1",
    "claims.l[2] == '~'",
    "{claims.s: claims.l}[claims.t] == 1",
    "claims.s.size() < 0",
    "claims.l.size() < 0",
    "claims.s.contains('~')",
    "claims.s.contains(claims.t)",
    "claims.s.contains(claims.t + '~')",
    "claims.s.contains('" + "a" * 40 + "b')",
    "x.contains(x + x)",
    "claims.s.startsWith(claims.t + '~')",
    "claims.s.endsWith('~' + claims.t)",
    "string(bytes(claims.s)) == ''",
    "bytes(claims.s).size() < 0",
    "int(claims.s) == 1",
    "timestamp(claims.s) < now",
    "duration(claims.s) < duration('1s')",
    "double(claims.s) < 0.0",
    "string(x) == '~'",
    "string(now) == ''",
    "(claims.s + claims.t).size() < 0",
    "claims.s + claims.t + claims.s == claims.t",
    "((claims.s + claims.s) + (claims.s + claims.s)) + ((claims.s + claims.s) + (claims.s + claims.s)) == 'a'",
    "(claims.l + claims.k).size() < 0",
    "(claims.l + claims.l) + (claims.l + claims.l) == [1]",
    "[1] + claims.l == [1]",
    "[claims.l, claims.k, claims.l] == [claims.k, claims.l, claims.k]",
    "[x, x, x, x, x, x, x, x].size() < 0",
    "{'a': x, 'b': x, 'c': x, 'd': x}.size() < 0",
    "now.getHours('Europe/Berlin') < 0",
    "timestamp('2020-01-01T00:00:00.123Z').getDayOfYear('America/New_York') < 0",
    "type(x) == duration",
    "claims.l.map(y, y) == []",
    "claims.l.map(y, claims.l) == claims.l",
    "claims.l.map(y, claims.l) == claims.l.map(y, claims.l)",
    "claims.l.map(y, claims.s + claims.t).size() < 0",
    "claims.l.map(y, [y, y, y, y]).size() < 0",
    "claims.l.map(y, {'a': y}).size() < 0",
    "claims.l.filter(y, true).size() < 0",
    "claims.l.filter(y, y == x).size() < 0",
    "claims.map(k, claims[k]).exists(v, v == claims)",
    "claims.exists(k, claims[k] == claims.l)",
    "claims.l.exists_one(y, y == x)",
    "claims.l.exists(y, y == x && false)",
    "claims.l.exists(y, claims.l.exists(z, y == z && x == y && false))",
)
PATTERNS = (
    "^a.*b$",
    "(.?){99}y",
    "(x?){90}x{90}",
    "(a?){50}a{50}$",
    "a{1,400}",
    ".{110}y",
    "(.|.){90}y",
    "([ab]|a|b)*a[ab]{30}c",
    ".*a.{60}y",
    "(?:.*a.*){15}z",
    "(?i)[^k]{40}y",
    "(a|ab|abc|b|bc)*c{1,20}y",
    "|".join("ab" * n + "y" for n in range(1, 14)),
    "(x+x+)+y",
)
SHELLS = (
    "{}",
    "[1].exists(x, {})",
    "claims.l.exists(x, {})",
    "claims.exists(x, {})",
    "claims.l.map(x, {}) == [true]",
    "claims.l.filter(x, {}) != []",
    "claims.l.exists_one(x, {})",
    "claims.l.exists(w, claims.k.exists(x, {}))",
    "claims.l.map(w, claims.k.map(x, {})) == [[true]]",
    "[1, 2, 3, 4, 5, 6, 7, 8, 9].exists(x, {})",
)


def shapes(size: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield claims of about `size` bytes of JSON, of which a condition reads `s`, `t`, `l` and `k`."""
    third = size // 3
    few: list[object] = ["a", "b"]
    yield "numbers", {"s": "a", "t": "b", "l": [1] * (size // 4), "k": [1] * (size // 4)}
    yield "one long list", {"s": "a", "t": "b", "l": [1] * (size // 2), "k": few}
    yield "short strings", {"s": "a", "t": "b", "l": ["aa"] * (size // 10), "k": ["aa"] * (size // 10)}
    yield "equal strings", {"s": "a" * (size // 2), "t": "a" * (size // 2), "l": few, "k": few}
    yield "needle", {"s": "a" * (2 * third), "t": "a" * (third - 1) + "b", "l": few, "k": few}
    yield "text and list", {"s": "a" * third, "t": "a" * third, "l": [1] * (third // 2), "k": few}
    yield "other letters", {"s": '"é' * (third // 4), "t": "é" * (third // 2), "l": [1] * (third // 2), "k": few}
    yield "list of long", {"s": "b", "t": "b", "l": ["a" * 200] * (size // 203), "k": few}
    yield "list of lists", {"s": "a", "t": "b", "l": [[1] * 15] * (size // 64), "k": [[1] * 15] * (size // 64)}
    yield "one of all", {"s": "a", "t": "b", "l": [[1] * (third // 2), *[1] * third], "k": few}
    yield "map", {"s": "a", "t": "b", "l": {f"{n:x}": 1 for n in range(size // 9)}, "k": few}
    yield "claims", {"s": "a", "t": "b", "l": few, "k": few} | {f"c{n:x}": 1 for n in range(size // 9)}
    deep: object = [1] * third
    for _ in range(25):
        deep = [deep]
    yield "deep", {"s": "a", "t": "b", "l": [deep, 1, 2, 3], "k": [deep]}


def conditions(chance: random.Random) -> Iterator[str]:
    """Yield every operation in every loop, and then some of them together, without end."""
    operations = [*OPERATIONS, *(f"claims.s.matches(r'{text}')" for text in PATTERNS)]
    operations += [f"x.matches(r'{text}')" for text in PATTERNS]
    for shell, operation in itertools.product(SHELLS, operations):
        yield shell.format(operation)
    while True:
        parts = chance.choices(operations, k=chance.choice((2, 4, 8, 16, 32)))
        yield chance.choice(SHELLS).format(" || ".join(parts))


def largest(expression: Expression, shape: int) -> tuple[str, dict[str, object], int] | None:
    """Return the largest claims of that shape that are still evaluated, and the estimate for them."""
    low, high, found = 16, LARGEST, None
    while high - low > low // 16:
        size = high if found is None and high == LARGEST else (low + high) // 2
        name, claims = next(itertools.islice(shapes(size), shape, None))
        cost = cost_of(expression, claims)
        if cost <= BUDGET:
            low, found = size, (name, claims, cost)
            if size == LARGEST:
                break
        elif size == LARGEST:
            high = LARGEST - 1
        else:
            high = size
    return found


def cost_of(expression: Expression, claims: dict[str, object]) -> int:
    """Return the estimate, also where the expression is evaluated without one."""
    costs = expression._costs  # noqa: SLF001 - what is measured here
    values = expression._data(claims, ("a:b",), ("tag:c",))  # noqa: SLF001 - the same
    if costs.affordable(len(msgspec.json.encode(values)), values):
        return min(BUDGET, estimate(costs.tree, costs.programs, {n: measure(v) for n, v in values.items()}))
    return BUDGET + 1


def memory(field: str) -> int:
    """Return a line of the process's status in KiB; 0 where there is none."""
    if not STATUS.exists():
        return 0
    return int(next(line for line in STATUS.read_text().splitlines() if line.startswith(field)).split()[1])


def timed(call: Callable[[], bool | Undecided]) -> tuple[float, int, bool | Undecided]:
    """Return the best of two processor times in milliseconds, the growth at its peak in KiB, and what was said."""
    if STATUS.exists():
        # What was freed goes back to the system, and the peak is from now on.
        ctypes.CDLL(None).malloc_trim(0)
        STATUS.with_name("clear_refs").write_text("5")
    before, times = memory("VmRSS"), []
    for _ in range(2):
        start = time.thread_time()
        call()
        times.append((time.thread_time() - start) * 1e3)
    return min(times), memory("VmHWM") - before, call()


def main() -> None:
    """Search for as long as was said, 60 seconds if nothing was."""
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 60)
    chance = random.Random(1)  # noqa: S311 - no secret
    found: list[tuple[float, float, int, str, str, str]] = []
    refused = tried = 0
    for text in conditions(chance):
        if time.monotonic() > end:
            break
        tried += 1
        try:
            expression = compile_expression(text)
        except ExpressionError:
            refused += 1
            continue
        for shape in range(len(list(shapes(16)))):
            largest_found = largest(expression, shape)
            if largest_found is None:
                continue
            name, claims, cost = largest_found
            spent, grown, verdict = timed(lambda e=expression, c=claims: e.evaluate(c, ("a:b",), ("tag:c",), NOW))  # type: ignore[misc]
            size = len(msgspec.json.encode(claims))
            found.append((spent, spent / (cost / 1e6), grown, text, f"{name}, {size} bytes", str(verdict)[:40]))
    print(f"{tried} conditions, {refused} of them refused when loaded, {len(found)} evaluations")
    for title, key in (("slowest (ms)", 0), ("dearest beside the estimate", 1), ("most memory (KiB)", 2)):
        print(f"\n{title}")
        shown = [entry for entry in found if entry[0] > 1] if key == 1 else found
        for entry in sorted(shown, key=lambda entry, k=key: entry[k], reverse=True)[:12]:  # type: ignore[misc]
            print(f"{entry[0]:8.2f} ms {entry[1]:6.2f} x {entry[2]:7} KiB  {entry[4]:32} {entry[3][:90]}  {entry[5]}")


if __name__ == "__main__":
    main()
