"""Laws of the key cache's rules, whatever requests, failures and time do."""

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tailsts.oidc import freshness
from tailsts.oidc.freshness import Freshness, Rules, Verdict

# A discovery document and a key set take at most this long (two fetches of five seconds each).
LONGEST_FETCH = 10
# Whole seconds, so that sums are exact: moments, waits of the cool-down, of the timer, and days.
steps = st.integers(0, 12) | st.integers(0, 400) | st.sampled_from([3600, 24 * 3600, 3 * 24 * 3600])


class KeyCacheRules(RuleBasedStateMachine):
    """A cache that runs the rules: its timer fires in time, its fetches end in time, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Rules()
        self.state = Freshness()
        self.now = 0
        self.fetch_began = 0
        self.last_end: int | None = None
        self.last_success: int | None = None
        self.last_succeeded = False
        self.demands: list[int] = []

    @initialize(refresh_after=st.integers(20, 900), cooldown=st.integers(1, 30), max_stale=st.integers(1000, 24 * 3600))
    def configure(self, refresh_after: int, cooldown: int, max_stale: int) -> None:
        """Take other rules than the usual ones."""
        self.limits = Rules(refresh_after=refresh_after, cooldown=cooldown, max_stale=max_stale)

    @rule(seconds=steps)
    def time_passes(self, seconds: int) -> None:
        """Let time pass up to the end of a fetch, or up to the next deed of the timer, which is done."""
        if self.state.fetching:
            self.now = min(self.now + seconds, self.fetch_began + LONGEST_FETCH)
            return
        wait = freshness.next_refresh(self.state, self.limits, self.now)
        if seconds < wait:
            self.now += seconds
            return
        self.now += int(wait)
        self.begin(demanded=False)

    @rule(known=st.booleans())
    def request(self, known: bool) -> None:
        """Bring a token whose key the last good set has, or has not; do what the rules say."""
        verdict = freshness.assess(self.state, self.limits, self.now, known=known)
        self.check_verdict(verdict, known=known)
        if verdict is Verdict.FETCH:
            self.demands.append(self.now)
            self.begin(demanded=True)

    @rule(count=st.integers(2, 50))
    def flood(self, count: int) -> None:
        """Bring many tokens with unknown keys at once: the first may cause a fetch, no other does."""
        self.request(known=False)
        state = self.state
        for _ in range(count):
            assert freshness.assess(self.state, self.limits, self.now, known=False) is not Verdict.FETCH
        assert self.state == state

    @precondition(lambda self: self.state.fetching)
    @rule(succeeds=st.booleans())
    def fetch_ends(self, succeeds: bool) -> None:
        """End the fetch that is under way."""
        self.last_end, self.last_succeeded = self.now, succeeds
        if succeeds:
            self.state, self.last_success = freshness.succeeded(self.state, self.now), self.now
        else:
            self.state = freshness.failed(self.state, self.now)

    def begin(self, *, demanded: bool) -> None:
        """Begin a fetch. Its beginning moves nothing of what the timer goes by."""
        assert not self.state.fetching
        before = freshness.next_refresh(self.state, self.limits, self.now)
        self.state = freshness.started(self.state, self.now, demanded=demanded)
        self.fetch_began = self.now
        assert freshness.next_refresh(self.state, self.limits, self.now) == before

    def usable(self) -> bool:
        """Return whether there are keys that may be used, by our own account."""
        return self.last_success is not None and self.now - self.last_success <= self.limits.max_stale

    def check_verdict(self, verdict: Verdict, *, known: bool) -> None:
        """Check what a request is told."""
        # A known key within max_stale never waits, and beyond it nothing is used.
        assert (verdict is Verdict.USE) is (known and self.usable())
        # "Unknown" is an answer of the issuer: the last attempt brought one, and it is not too old.
        if verdict is Verdict.UNKNOWN:
            assert self.last_succeeded
            assert self.usable()
            assert not known
        assert (verdict is Verdict.WAIT) is (self.state.fetching and not (known and self.usable()))
        # Nobody who wants an answer waits for it longer than the cool-down.
        if verdict in {Verdict.UNKNOWN, Verdict.UNAVAILABLE}:
            assert self.demands
            assert self.now - self.demands[-1] < self.limits.cooldown

    @invariant()
    def demands_keep_their_distance(self) -> None:
        """Requests cause at most one fetch in a cool-down."""
        pairs = zip(self.demands, self.demands[1:], strict=False)
        assert all(later - earlier >= self.limits.cooldown for earlier, later in pairs)

    @invariant()
    def the_timer_makes_progress(self) -> None:
        """Whatever requests do, a fetch begins soon after one that failed, and in time after one that did not."""
        wait = freshness.next_refresh(self.state, self.limits, self.now)
        limit = self.limits.refresh_after if self.last_succeeded else self.limits.last_retry
        assert 0 <= wait <= limit
        if not self.state.fetching and self.last_end is not None:
            assert self.now + wait <= self.last_end + limit
        assert freshness.next_refresh(self.state, self.limits, self.now + wait) == 0

    @invariant()
    def failures_cost_no_keys(self) -> None:
        """What was fetched last stays, with its age, however many attempts fail after it."""
        assert self.state.fetched_at == self.last_success
        assert freshness.is_usable(self.state, self.limits, self.now) is self.usable()
        if self.last_success is not None:
            edge = self.last_success + int(self.limits.max_stale)
            edges = (edge, edge + 1)
            assert [freshness.is_usable(self.state, self.limits, moment) for moment in edges] == [True, False]
        assert (self.state.failures == 0) is (self.last_end is None or self.last_succeeded)

    @invariant()
    def nobody_is_told_to_come_at_once_or_never(self) -> None:
        """Retry-After is at least a second, and not longer than until the next attempt."""
        told = freshness.retry_after(self.state, self.limits, self.now)
        assert 1 <= told <= max(1, self.limits.refresh_after, self.limits.last_retry)

    @precondition(lambda self: self.usable() and not self.state.fetching)
    @rule()
    def a_new_key_is_learnt_within_the_cooldown(self) -> None:
        """However many unknown keys came before, a cool-down after them a request has the keys fetched anew."""
        assume(self.demands)
        later = max(self.now, self.demands[-1] + int(self.limits.cooldown))
        assert freshness.assess(self.state, self.limits, later, known=False) is Verdict.FETCH


TestKeyCacheRules = KeyCacheRules.TestCase
