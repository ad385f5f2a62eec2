"""What the log says of issuers' keys: each change once."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from fakes.issuer import jwk, key_pair
from tailsts.oidc.jwks import FetchReport
from tailsts.oidc.keys import KeySet, normalise
from tailsts.oidc.source import Discovery, JwksUrl, KeySource
from tailsts.server import logs
from tailsts.server.keylog import KeyLog
from tailsts.server.shown.metrics import Metrics

ISSUER = "https://issuer.example.com"
OTHER = "https://other.example.com"
GOOD = jwk(key_pair("RS256"), "good")
FAULT = "the answer has the status 500"
FETCHED = {
    "level": "info",
    "event": "keys fetched",
    "issuer": ISSUER,
    "source": "discovery",
    "keys": 1,
    "kids": ["good"],
}
FAILED = {
    "level": "warning",
    "event": "keys cannot be fetched",
    "issuer": ISSUER,
    "source": "discovery",
    "fault": FAULT,
    "meanwhile": "the last good keys serve",
}
NOT_YET = {**FAILED, "meanwhile": "its tokens are answered with 503"}


def keys(*members: object) -> KeySet:
    """Return a key set of these members and a good key."""
    return normalise(json.dumps({"keys": [*members, GOOD]}).encode())


def dropped(key_id: str | None, position: int, reason: str) -> dict[str, Any]:
    """Return the line about a key that was dropped."""
    line = {"level": "warning", "event": "a key was dropped", "issuer": ISSUER, "source": "discovery"}
    return {**line, "kid": key_id, "position": position, "reason": reason}


class Desk:
    """A key log, and the lines that it writes."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._written: list[bytes] = []
        logs.configure(json=True, level="debug", write=self._written.append)
        self._log = KeyLog(self.metrics)

    def hear(
        self, *outcomes: KeySet | str | None, issuer: str = ISSUER, source: KeySource | None = None
    ) -> list[dict[str, Any]]:
        """Report these outcomes of fetches, a key set or a fault; return the new lines, without their time."""
        for outcome in outcomes:
            found, fault = (outcome, None) if isinstance(outcome, KeySet) else (None, outcome)
            self._log.report(FetchReport(issuer, source or Discovery(), found, fault))
        lines = [json.loads(line) for line in self._written]
        self._written.clear()
        return [{name: value for name, value in line.items() if name != "time"} for line in lines]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Return a new one."""
    yield Desk()
    structlog.reset_defaults()


def test_the_first_keys(desk: Desk) -> None:
    """That keys were fetched is said the first time, and not again with each refresh."""
    assert desk.hear(keys()) == [FETCHED]
    assert desk.hear(keys(), keys()) == []


def test_a_rotation(desk: Desk) -> None:
    """That an issuer's keys are others than before is said, with their ids; that they are the same is not."""
    desk.hear(keys())
    rotated = {**FETCHED, "keys": 2, "kids": ["good", "new"]}
    assert desk.hear(keys(jwk(key_pair("RS256"), "new"))) == [rotated]
    assert desk.hear(keys(jwk(key_pair("RS256"), "new")), keys()) == [FETCHED]


def test_an_issuer_that_is_down_from_the_start(desk: Desk) -> None:
    """An issuer that cannot be reached is said once, with the reason, and once when it can."""
    assert desk.hear(FAULT, FAULT, FAULT) == [NOT_YET]
    assert desk.hear(keys(), keys()) == [FETCHED]


def test_an_outage(desk: Desk) -> None:
    """An outage is said when it begins, when its reason changes, and when it is over; the next one again."""
    desk.hear(keys())
    assert desk.hear(FAULT, FAULT) == [FAILED]
    assert desk.hear("no answer in time", "no answer in time") == [{**FAILED, "fault": "no answer in time"}]
    assert desk.hear(keys(), keys()) == [FETCHED]
    assert desk.hear(FAULT) == [FAILED]


@pytest.mark.parametrize(
    ("member", "line"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, "a symmetric key: whoever reads this set can sign with it"),
        ({**GOOD, "kid": "a", "d": "c2VjcmV0"}, "a PRIVATE key was published: the issuer must withdraw it"),
        ({**GOOD, "kid": "a", "use": "enc"}, "use is not sig"),
        ({**GOOD, "kid": "a", "n": "AQAB"}, "RSA with 17 bits; 2048 to 8192 are accepted"),
    ],
)
def test_k06_k07_dropped_keys_are_named(desk: Desk, member: dict[str, object], line: str) -> None:
    """K-06, K-07: a key that is dropped is said once, by its id and place, with the reason and nothing of the key."""
    assert desk.hear(keys(member)) == [FETCHED, dropped("a", 0, line)]
    assert desk.hear(keys(member), FAULT, keys(member)) == [FAILED, FETCHED]


def test_k12_when_the_dropped_keys_change(desk: Desk) -> None:
    """K-12: when others are dropped than before, all of them are named; when none is, nothing is left to say."""
    desk.hear(keys(None))
    assert desk.hear(keys(None, {"kty": "zz"})) == [
        dropped(None, 0, "not an object, or one with duplicate names"),
        dropped(None, 1, "kty is not RSA, EC or OKP"),
    ]
    assert desk.hear(keys()) == []
    assert desk.hear(keys(None)) == [dropped(None, 0, "not an object, or one with duplicate names")]


def test_each_trust_for_itself(desk: Desk) -> None:
    """One issuer, or one source of keys, says nothing about another."""
    address = JwksUrl("https://issuer.example.com/jwks")
    desk.hear(keys())
    assert desk.hear(keys(), issuer=OTHER) == [{**FETCHED, "issuer": OTHER}]
    assert desk.hear(keys(), source=address) == [{**FETCHED, "source": "https://issuer.example.com/jwks"}]
    assert desk.hear(FAULT, issuer=OTHER) == [{**FAILED, "issuer": OTHER}]
    assert desk.hear(keys()) == []


def test_every_attempt_is_counted(desk: Desk) -> None:
    """What is not said is still counted."""
    desk.hear(keys(), keys(), FAULT, FAULT, FAULT)
    assert desk.metrics.fetches == {(ISSUER, "discovery", "ok"): 2, (ISSUER, "discovery", "failed"): 3}
