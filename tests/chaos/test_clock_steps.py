"""A clock that is set back an hour and forth a day under a running service."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually, http
from fakes.service import Answer
from fakes.stepped import IS_THERE, SteppedClock

HOUR, DAY = 3600, 24 * 3600

pytestmark = pytest.mark.skipif(not IS_THERE, reason="needs libfaketime (Debian: faketime)")


@pytest.fixture
def clock(tmp_path: Path) -> SteppedClock:
    """Return the service's clock."""
    return SteppedClock(tmp_path)


@pytest.fixture
def site(tmp_path: Path, clock: SteppedClock) -> Iterator[Deployment]:
    """Return the service with its neighbours, whose clock is right."""
    with deployed(tmp_path, **clock.variables) as site:
        yield site


def ask(site: Deployment, offset: int = 0) -> Answer:
    """Ask with a token that is good by a clock so many seconds off."""
    now = int(time.time()) + offset
    return site.service.exchange(site.issuer.token(iat=now, exp=now + 300))


def seconds_off(site: Deployment, answer: Answer) -> float:
    """Return by how much the time in the answer's event is off."""
    said = dt.datetime.fromisoformat(str(site.service.event_of(answer)["time"]))
    return said.timestamp() - time.time()


@pytest.mark.parametrize("step", [-HOUR, DAY])
def test_tokens_are_judged_by_the_new_time(site: Deployment, clock: SteppedClock, step: int) -> None:
    """Whichever way it is set, tokens of that time are good and others are a 401; set right, all is as before."""
    assert ask(site).status == 200
    clock.step(step)
    wrong, right = ask(site), ask(site, step)
    assert (wrong.status, right.status) == (401, 200)
    reason = "issued_in_future" if step < 0 else "expired"
    assert site.service.event_of(wrong)["reason"] == reason
    assert abs(seconds_off(site, right) - step) < 30
    clock.step(0)
    assert (ask(site).status, ask(site, step).status) == (200, 401)


@pytest.mark.parametrize("kept", ["memory", "sqlite"])
def test_a_used_token_stays_used(tmp_path: Path, clock: SteppedClock, kept: str) -> None:
    """A token that was used stays used: an hour earlier, and today again after a day on which others came."""
    state = kept if kept == "memory" else f"sqlite:{tmp_path / 'state.db'}"
    with deployed(tmp_path, ["--single-use", "--state", state], **clock.variables) as site:
        now = int(time.time())
        # Good for the hour before as well: else the time alone would refuse it there.
        tokens = [site.issuer.token(iat=now - HOUR - 60, exp=now + 600) for _ in range(2)]
        used, unused = tokens
        assert site.service.exchange(used).status == 200
        clock.step(-HOUR)
        assert reason(site, used) == "replayed"
        clock.step(DAY)
        # As many as make the state clear away what is over.
        assert {ask(site, DAY).status for _ in range(70)} == {200}
        assert reason(site, used) == "expired"
        clock.step(0)
        assert reason(site, used) == "replayed"
        assert [site.service.exchange(unused).status for _ in range(2)] == [200, 403]


def reason(site: Deployment, token: str) -> object:
    """Return why the token is refused."""
    return site.service.event_of(site.service.exchange(token))["reason"]


@pytest.mark.parametrize("step", [-HOUR, DAY])
def test_caches_and_deadlines_do_not_notice(site: Deployment, clock: SteppedClock, step: int) -> None:
    """Keys that are there stay in use without a fetch, new ones are learnt, and Tailscale's circuit works as ever."""
    assert ask(site).status == 200
    fetched = site.issuer.count("/jwks")
    clock.step(step)
    assert [ask(site, step).status for _ in range(20)] == [200] * 20
    assert site.issuer.count("/jwks") == fetched
    site.issuer.rotate()
    assert ask(site, step).status == 200
    assert site.issuer.count("/jwks") == fetched + 1
    assert 0 <= site.service.metric("tailsts_key_age_seconds") < 60
    site.tailscale.trouble = http(503, b"")
    eventually(lambda: "was not asked" in str(site.service.event_of(ask(site, step)).get("detail")))
    site.tailscale.trouble = None
    eventually(lambda: ask(site, step).status == 200)
    site.service.reload()
    assert ask(site, step).status == 200
