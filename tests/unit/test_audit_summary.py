"""What the entries of an audit log come to."""

import json

from tailsts.auditing.entries import Entry
from tailsts.auditing.rendering import summary_lines, summary_value
from tailsts.auditing.summary import NOT_VERIFIED, Summary, Tally


def entry(second: int, outcome: str = "granted", reason: str = "granted", **also: object) -> Entry:
    """Return an entry of some second."""
    known = {"verified": True, "issuer": "https://i", "subject": "s", "policy": "infra"}
    return Entry(f"2026-11-24T18:00:{second:02}.000Z", "0f", outcome, reason, **{**known, **also})  # type: ignore[arg-type]


def summed(limit: int = 1000) -> Summary:
    """Return the summary of a few entries."""
    summary = Summary(limit)
    for each in (
        entry(2),
        entry(1),
        entry(3, "refused", "scope_not_allowed", subject="t\x1b[2J"),
        entry(4, "rejected", "expired", verified=False, issuer="https://evil", subject="root", policy=""),
        entry(5, "unavailable", "keys_unavailable", verified=False, issuer="https://i", policy=""),
    ):
        summary.add(each)
    return summary


def test_for_people() -> None:
    """Totals come first, then policies with outcome and reason, issuers, and subjects, the most frequent first."""
    assert list(summary_lines(summed(), 10)) == [
        "exchanges: 5 (2 granted, 2 denied, 1 failed)",
        "from 2026-11-24T18:00:01.000Z to 2026-11-24T18:00:05.000Z",
        "",
        "policy  outcome      reason             count",
        "infra   granted      granted                2",
        "-       rejected     expired                1",
        "-       unavailable  keys_unavailable       1",
        "infra   refused      scope_not_allowed      1",
        "",
        "issuer        came to  count",
        "https://i     granted      2",
        "(unverified)  denied       1",
        "(unverified)  failed       1",
        "https://i     denied       1",
        "",
        "subject       issuer     came to  count",
        "s             https://i  granted      2",
        '"t\\u001b[2J"  https://i  denied       1',
    ]


def test_for_programs() -> None:
    """The same is an object; of an empty log, too."""
    value = summary_value(summed(), 1)
    assert json.loads(json.dumps(value)) == {
        "exchanges": 5,
        "first": "2026-11-24T18:00:01.000Z",
        "last": "2026-11-24T18:00:05.000Z",
        "granted": 2,
        "denied": 2,
        "failed": 1,
        "may_be_missing": 0,
        "policies": [
            {"policy": "infra", "outcome": "granted", "reason": "granted", "count": 2},
            {"policy": "", "outcome": "rejected", "reason": "expired", "count": 1},
            {"policy": "", "outcome": "unavailable", "reason": "keys_unavailable", "count": 1},
            {"policy": "infra", "outcome": "refused", "reason": "scope_not_allowed", "count": 1},
        ],
        "issuers": [{"issuer": "https://i", "came_to": "granted", "count": 2}],
        "subjects": [{"subject": "s", "issuer": "https://i", "came_to": "granted", "count": 2}],
    }
    empty = summary_value(Summary(), 10)
    assert (empty["exchanges"], empty["first"], empty["policies"]) == (0, None, [])
    assert list(summary_lines(Summary(), 10)) == ["exchanges: 0"]


def test_only_so_many_are_shown() -> None:
    """Of issuers and subjects the most frequent are shown, and that there are more is said."""
    lines = list(summary_lines(summed(), 1))
    assert [line for line in lines if line.startswith("...")] == ["... and 3 more", "... and 1 more"]


def test_what_strangers_call_themselves_is_not_counted() -> None:
    """Tokens that nobody verified are counted as one, whatever they say, so they fill neither table nor memory."""
    summary = Summary()
    for number in range(50):
        summary.add(entry(1, "rejected", "expired", verified=False, issuer=f"https://{number}", subject=str(number)))
    assert summary.issuers.rows() == [((NOT_VERIFIED, "denied"), 50)]
    assert summary.subjects.rows() == []


def test_memory_is_bounded() -> None:
    """Of more keys than the limit the rarer ones are let go; no count is wrong by more than is said."""
    tally = Tally(10)
    for number in range(1000):
        tally.add("frequent")
        tally.add(str(number))
        assert len(tally) <= 10
    (key, count), *_ = tally.rows()
    assert (key, count) == (("frequent",), 1000)
    assert sum(count for _, count in tally.rows()) + tally.let_go == 2000
    summary = summed(limit=1)
    assert summary.let_go > 0
    assert list(summary_lines(summary, 10))[2] == (
        f"more different ones than are counted: a count may be too small by up to {summary.let_go}"
    )
