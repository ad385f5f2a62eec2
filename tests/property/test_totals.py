"""Laws of totals: what was shown once is never taken back, however workers come and go."""

from hypothesis import given
from hypothesis import strategies as st

from tailsts.server.shown.readiness import Readiness
from tailsts.server.shown.snapshot import Snapshot, Totals, add_up, merge

NOTHING = Readiness("ready", False, 0, "", (), ())
names = st.sampled_from("ab")
labels = st.tuples(st.sampled_from("xy"))
counters = st.dictionaries(names, st.dictionaries(labels, st.integers(0, 100)))
# Sums that binary fractions hold exactly, so that their order does not matter.
stages = st.dictionaries(names, st.tuples(st.tuples(*[st.integers(0, 100)] * 3), st.integers(0, 100).map(float)))
totals = st.builds(Totals, counters, stages)


@given(totals, totals, totals)
def test_the_order_does_not_matter(one: Totals, two: Totals, three: Totals) -> None:
    """Workers may be added up in any order, and in groups."""
    assert add_up([one, two, three]) == add_up([three, add_up([two, one])])


# For each worker what it counts next, or None: it is killed and starts at nothing.
@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), totals)), max_size=20))
def test_no_total_goes_back(steps: list[tuple[int, Totals | None]]) -> None:
    """Whatever workers count, and whenever they are killed and replaced, no total that was shown goes back."""
    running, gone = [Totals()] * 3, [Totals()] * 3
    shown = Totals()
    for worker, more in steps:
        if more is None:
            gone[worker], running[worker] = add_up([gone[worker], running[worker]]), Totals()
        else:
            running[worker] = add_up([running[worker], more])
        parts = [Snapshot(part, NOTHING, {}, audit_writable=True) for part in running]
        now = merge(parts, gone=gone, restarts=0, draining=False).totals
        for name, counts in shown.counters.items():
            assert all(now.counters[name][label] >= count for label, count in counts.items())
        for name, (counts_before, sum_before) in shown.stages.items():
            assert now.stages[name][1] >= sum_before
            assert all(later >= before for later, before in zip(now.stages[name][0], counts_before, strict=True))
        shown = now
