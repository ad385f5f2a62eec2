"""Who has to go when too many are connected: by networks first, and a proxy that is trusted last."""

from tailsts.server.accepted import Connection
from tailsts.server.room import longest_waiting


def waiting(descriptor: int, peer: str, milliseconds: int) -> Connection:
    """Return a connection that nothing was sent to for so long."""
    return Connection(descriptor, peer, milliseconds)


def test_h01_asking_all_the_time_makes_nobody_safe() -> None:
    """H-01: of an address that has most, also those go first that had an answer a moment ago; others' stay."""
    asking = [waiting(number, f"192.0.2.1:{number}", 1) for number in range(1, 5)]
    patient = [waiting(number, f"198.51.100.{number}:7", 2000 + number) for number in range(5, 8)]
    answered = {each.peer for each in asking}
    found = longest_waiting([*patient, *asking], 3, answered.__contains__)
    assert {each.peer for each in found} < answered


def test_h01_within_a_network_the_answered_come_last() -> None:
    """H-01: among those of one address, one whose answer may be on its way stays longer than one that only waits."""
    idle = [waiting(number, f"192.0.2.1:{number}", 10) for number in range(1, 3)]
    answered = waiting(3, "192.0.2.1:3", 5000)
    found = longest_waiting([answered, *idle], 2, lambda peer: peer == answered.peer)
    assert [each.descriptor for each in found] == [2, 1]
