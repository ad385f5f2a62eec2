"""Which entries of an audit log are asked for. Pure."""

import datetime as dt
import re

import msgspec

from tailsts.auditing.entries import Entry, Kind
from tailsts.policy.tomlvalue import seconds

# A subject with it at its end stands for all that begin so.
ANY_END = "*"

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# RFC 3339, 5.6. Without an offset, nobody can say when it is.
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class MomentError(ValueError):
    """A text says no moment."""


class Selection(msgspec.Struct, frozen=True):
    """What an entry must have; what is empty does not matter. Of several of a kind it must have one.

    `since` and `until` are as in the log; an entry of `until` itself is not among them.
    """

    kinds: frozenset[Kind] = frozenset()
    policies: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    subjects: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    def has(self, entry: Entry) -> bool:
        """Return whether the entry is asked for."""
        return (
            self.since <= entry.time
            and (not self.until or entry.time < self.until)
            and (not self.kinds or entry.kind in self.kinds)
            and (not self.policies or entry.policy in self.policies)
            and (not self.issuers or entry.issuer in self.issuers)
            and (not self.reasons or entry.reason in self.reasons)
            and (not self.subjects or any(_is(subject, entry.subject) for subject in self.subjects))
        )


def _is(wanted: str, subject: str) -> bool:
    return subject.startswith(wanted[:-1]) if wanted.endswith(ANY_END) else subject == wanted


def logged_moment(text: str, now: dt.datetime) -> str:
    """Return a moment as the log has it: of a time with its offset, of a day (UTC), or of so long ago, like `2h`.

    Raises:
        MomentError: the text is none of these.
    """
    return _moment(text.strip(), now).astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str, now: dt.datetime) -> dt.datetime:
    try:
        if (ago := seconds(text)) is not None:
            return now - dt.timedelta(seconds=ago)
        if _DAY.fullmatch(text):
            return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
        if _MOMENT.fullmatch(text):
            # To be in UTC, it must be a moment there as well.
            return dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    raise MomentError("is not a moment: like 2026-11-24T18:00:00Z, 2026-11-24, or 30m, 2h, 7d for so long ago")
