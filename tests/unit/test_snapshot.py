"""What several workers show as one service."""

import msgspec

from tailsts import __version__
from tailsts.server.shown import exposition
from tailsts.server.shown.metrics import BUCKETS
from tailsts.server.shown.readiness import Readiness, Status, TrustState, WorkerState, together
from tailsts.server.shown.snapshot import Labels, Load, Snapshot, Totals, Workers, add_up, merge

ISSUER = "https://issuer.example.com"
FRESH = TrustState(ISSUER, "discovery", "fresh", 2, 10.0, None)
STALE = TrustState(ISSUER, "discovery", "stale", 2, 4000.0, "no answer in time")
MISSING = TrustState(ISSUER, "discovery", "missing", 0, None, "no answer in time")
OTHER = TrustState("https://other.example.com", "discovery", "fresh", 1, 5.0, None)


def readiness(status: Status = "ready", *trusts: TrustState, generation: str = "aa", policies: int = 2) -> Readiness:
    """Return the readiness of one worker."""
    return Readiness(status, False, policies, generation, (), trusts)


def totals(granted: int, lost: int = 0) -> Totals:
    """Return what a worker has counted."""
    counts = (granted, *(0 for _ in BUCKETS))
    counters: dict[str, dict[Labels, int]] = {"decisions": {("granted", "granted"): granted}, "lost": {(): lost}}
    return Totals(counters, {"mint": (counts, granted * 0.5)})


def seen(granted: int = 0, *, lost: int = 0, writable: bool = True, in_flight: int = 0) -> Snapshot:
    """Return what is to be seen of a worker."""
    return Snapshot(totals(granted, lost), readiness(), {"exchanges": Load(in_flight, 1000)}, writable)


def test_what_was_counted_adds_up() -> None:
    """Counters add up by name and labels, histograms by bound; what only one has is kept."""
    one = Totals({"a": {("x",): 1, ("y",): 2}}, {"mint": ((1, 2, 3), 0.5)})
    other = Totals({"a": {("x",): 10}, "b": {(): 4}}, {"mint": ((10, 0, 1), 1.5), "keys": ((1, 0, 0), 0.1)})
    assert add_up([one, other]) == Totals(
        {"a": {("x",): 11, ("y",): 2}, "b": {(): 4}}, {"mint": ((11, 2, 4), 2.0), "keys": ((1, 0, 0), 0.1)}
    )
    assert add_up([]) == Totals()


def test_two_workers() -> None:
    """Totals are the sum, and so are loads; of what can be good or bad, the worst is shown."""
    parts = [seen(3, lost=1, in_flight=5), seen(4, writable=False, in_flight=7)]
    merged = merge(parts, gone=[], restarts=2, draining=False)
    assert merged.totals == totals(7, 1)
    assert (merged.audit_writable, merged.loads) == (False, {"exchanges": Load(12, 2000)})
    assert merged.workers == Workers(2, 2, 2)


def test_a_worker_that_is_gone_leaves_its_totals() -> None:
    """What a worker had counted before it ended still counts, with nobody in its place and with the next one there."""
    before = merge([seen(3), seen(4)], gone=[], restarts=0, draining=False)
    while_gone = merge([None, seen(4)], gone=[totals(3)], restarts=0, draining=False)
    after = merge([seen(0), seen(5)], gone=[totals(3)], restarts=1, draining=False)
    assert before.totals == while_gone.totals == totals(7)
    assert (while_gone.workers, while_gone.readiness.status) == (Workers(2, 1, 0), "degraded")
    assert (after.totals, after.workers) == (totals(8), Workers(2, 2, 1))


def test_nobody_serves() -> None:
    """Without any worker there is nothing to see, and the service is not ready."""
    merged = merge([None, None], gone=[], restarts=0, draining=False)
    assert (merged.totals, merged.loads, merged.workers) == (Totals(), {}, Workers(2, 0, 0))
    assert merged.readiness == Readiness(
        "not ready", False, 0, "", (), (), (WorkerState(1, "gone", ""), WorkerState(2, "gone", ""))
    )


def test_readiness_of_several() -> None:
    """Ready if all are, not ready if none can work, else degraded; who is about to stop is not ready."""
    status_of: list[tuple[list[Readiness | None], Status]] = [
        ([readiness(), readiness()], "ready"),
        ([readiness(), readiness("degraded")], "degraded"),
        ([readiness("degraded"), readiness("degraded")], "degraded"),
        ([readiness(), readiness("not ready")], "degraded"),
        ([readiness("not ready"), readiness("not ready")], "not ready"),
        ([readiness(), None], "degraded"),
        ([readiness("not ready"), None], "not ready"),
        ([None], "not ready"),
    ]
    for parts, expected in status_of:
        assert together(parts, draining=False).status == expected
        assert together(parts, draining=True).status == "not ready"


def test_the_worst_of_each_trust() -> None:
    """Each trust is shown once: in its worst state, with the fewest keys, the greatest age, and a fault if any."""
    shown = together([readiness("ready", FRESH, OTHER), readiness("ready", STALE)], draining=False)
    assert shown.trusts == (STALE, OTHER)
    shown = together([readiness("ready", STALE), readiness("degraded", MISSING)], draining=False)
    assert shown.trusts == (TrustState(ISSUER, "discovery", "missing", 0, 4000.0, "no answer in time"),)
    assert together([readiness("degraded", MISSING)] * 2, draining=False).trusts == (MISSING,)


def test_generations_of_several() -> None:
    """While workers differ, all generations are shown: who waits for one waits until every worker has it."""
    differing = [readiness(generation="bb", policies=3), readiness(generation="aa"), readiness(generation="bb")]
    shown = together(differing, draining=False)
    assert (shown.generation, shown.policies) == ("aa bb", 2)
    assert [part.generation for part in shown.workers] == ["bb", "aa", "bb"]
    text = exposition.text(Snapshot(Totals(), shown, {}, audit_writable=True))
    for generation in ("aa", "bb"):
        assert f'tailsts_info{{generation="{generation}",version="{__version__}"}} 1.0' in text


def test_reload_faults_of_several() -> None:
    """What keeps policies out is said once, whoever found it."""
    found = [msgspec.structs.replace(readiness(), reload_faults=faults) for faults in (("a", "b"), ("b", "c"))]
    assert together(found, draining=False).reload_faults == ("a", "b", "c")


def test_start_faults() -> None:
    """What keeps workers from starting is shown beside what keeps policies out, each once, also without any worker."""
    found = msgspec.structs.replace(readiness("degraded"), reload_faults=("a",))
    shown = together([found, None], draining=False, start_faults=["a", "b"])
    assert shown.reload_faults == ("a", "b")
    nobody = merge([None, None], gone=[], restarts=0, draining=False, start_faults=["a", "a"])
    assert nobody.readiness.reload_faults == ("a",)
    text = exposition.text(nobody)
    assert "tailsts_policy_faults 1.0" in text
    assert "tailsts_policies" not in text


def test_silent_workers() -> None:
    """One that is silent leaves the service degraded, with what it last said; if none answers it is not ready."""
    parts = [readiness(generation="aa"), readiness(generation="bb")]
    shown = together(parts, draining=False, silent={2})
    assert shown.status == "degraded"
    assert shown.workers == (WorkerState(1, "ready", "aa"), WorkerState(2, "silent", "bb"))
    assert shown.generation == "aa bb"
    assert together(parts, draining=False, silent={1, 2}).status == "not ready"
    assert together([None], draining=False, silent={1}).workers == (WorkerState(1, "gone", ""),)


def test_what_else_has_failed() -> None:
    """The audit log and the state are as bad as in the worst worker; a state in memory is not spoken of."""
    well, ill = seen(), msgspec.structs.replace(seen(), state_reachable=False)
    sick = msgspec.structs.replace(readiness("degraded"), audit="is full", state="is away")
    merged = merge([well, msgspec.structs.replace(ill, readiness=sick)], gone=[], restarts=0, draining=False)
    assert (merged.readiness.audit, merged.readiness.state) == ("is full", "is away")
    assert merged.state_reachable is False
    assert "tailsts_state_reachable 0.0" in exposition.text(merged)
    reachable = msgspec.structs.replace(seen(), state_reachable=True)
    assert "tailsts_state_reachable 1.0" in exposition.text(merge([reachable], gone=[], restarts=0, draining=False))
    assert "tailsts_state_reachable" not in exposition.text(merge([well, None], gone=[], restarts=0, draining=False))


def test_nulls_are_shown() -> None:
    """What has no fault is there as null: whoever asks for it need not know whether it can be absent."""
    shown = msgspec.to_builtins(readiness())
    assert (shown["audit"], shown["state"]) == (None, None)


def test_one_process_does_not_speak_of_workers() -> None:
    """The readiness of a service of one process has no list of workers."""
    assert "workers" not in msgspec.to_builtins(readiness())
    assert "workers" in msgspec.to_builtins(together([readiness()], draining=False))


def test_a_snapshot_travels_unchanged() -> None:
    """What a worker sends is what the parent reads."""
    snapshot = merge([seen(3, in_flight=2), None], gone=[totals(1)], restarts=1, draining=False)
    encoded = msgspec.msgpack.encode(snapshot)
    assert msgspec.msgpack.decode(encoded, type=Snapshot) == snapshot
