"""What the entries of an audit log come to: how many, by policy and reason, by issuer, by subject. Pure.

Strangers choose issuers and subjects, so a log may hold any number of them: what is counted is bounded.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from tailsts.auditing.entries import Entry, Kind

MAX_COUNTED = 100_000
NOT_VERIFIED = "(unverified)"

Row = tuple[tuple[str, ...], int]


class Tally:
    """Counts keys, in bounded memory: of more than `limit` different ones, the rarer half is let go.

    `let_go` is how many entries that were, so a count may be too small by no more than that.
    """

    def __init__(self, limit: int = MAX_COUNTED) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._limit = limit
        self.let_go = 0

    def add(self, *key: str) -> None:
        """Count one more of it."""
        self._counts[key] += 1
        if len(self._counts) > self._limit:
            kept = Counter(dict(self._counts.most_common(self._limit // 2)))
            self.let_go += self._counts.total() - kept.total()
            self._counts = kept

    def rows(self, top: int | None = None) -> list[Row]:
        """Return the keys with their counts, the most frequent first; at most `top` of them."""
        found = sorted(self._counts.items(), key=lambda row: (-row[1], row[0]))
        return found if top is None else found[:top]

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._counts)


class Summary:
    """Takes entries one by one. `first` and `last` are the times of the earliest and the latest."""

    def __init__(self, limit: int = MAX_COUNTED) -> None:
        self.entries = 0
        self.first = self.last = ""
        self.kinds: Counter[Kind] = Counter()
        self.policies = Tally(limit)
        self.issuers = Tally(limit)
        self.subjects = Tally(limit)

    def add(self, entry: Entry) -> None:
        """Take one more."""
        self.entries += 1
        self.first = min(self.first or entry.time, entry.time)
        self.last = max(self.last, entry.time)
        self.kinds[entry.kind] += 1
        self.policies.add(entry.policy, entry.outcome, entry.reason)
        if entry.verified:
            self.issuers.add(entry.issuer, entry.kind.value)
            self.subjects.add(entry.subject, entry.issuer, entry.kind.value)
        else:
            # Whatever such a token says of itself, it is one stranger to us.
            self.issuers.add(NOT_VERIFIED, entry.kind.value)

    @property
    def let_go(self) -> int:
        """Return by how many a count may be too small."""
        return max(self.policies.let_go, self.issuers.let_go, self.subjects.let_go)


class Table(msgspec.Struct, frozen=True):
    """Rows of a summary, and the names of their columns; that of the counts is the last."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Row]


def tables(summary: Summary, top: int) -> list[Table]:
    """Return the summary as tables: all policies and reasons, and of issuers and subjects the `top` most frequent."""
    return [
        Table("policies", ("policy", "outcome", "reason", "count"), summary.policies.rows()),
        Table("issuers", ("issuer", "came to", "count"), summary.issuers.rows(top)),
        Table("subjects", ("subject", "issuer", "came to", "count"), summary.subjects.rows(top)),
    ]
