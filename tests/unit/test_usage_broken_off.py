"""What an exchange used up that is broken off, or that a bug of ours ends: nobody got a token, so all is as before."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.http import HANG, eventually_async
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.tailscale import FakeTailscale
from tailsts.exchange import Caller
from tailsts.outcome import Minted, Use, Withheld
from tailsts.policy.rate import Rate
from tailsts.state.memory import MemoryState
from tailsts.usage import Usage
from unit.exchanging import Site, asking, exchanging

NOW = 1_800_000_000.0
ONE = Rate(1, 86400)
ENDINGS = pytest.mark.parametrize("ending", [ZeroDivisionError, asyncio.CancelledError])


@pytest.fixture
async def site(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> AsyncIterator[Site]:
    """Run an exchange with a token that is used once and one use a day, where the audit log must know of each token."""
    text = policy(issuer.url, single_use=True, rate_limit="1/day")
    async with exchanging(tmp_path / "policies", {"a": text}, tailscale, required=True) as running:
        yield running


async def gets_one(site: Site, token: str) -> bool:
    """Return whether the token buys an access token, and no second."""
    outcomes = [(await site.decide(asking(token))).outcome for _ in range(2)]
    return isinstance(outcomes[0], Minted) and outcomes[1] == Withheld("replayed")


async def test_broken_off_while_tailscale_is_asked(site: Site, issuer: FakeIssuer) -> None:
    """Whoever leaves while Tailscale hangs can come again with the same token, and has the whole rate."""
    token = issuer.token()
    site.tailscale.trouble = HANG
    leaving = asyncio.create_task(site.decide(asking(token)))
    await eventually_async(lambda: len(site.tailscale.requests) == 1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    site.tailscale.trouble = None
    assert await gets_one(site, token)


@ENDINGS
async def test_what_nobody_thought_of_after_tailscale_answered(
    site: Site, issuer: FakeIssuer, ending: type[BaseException]
) -> None:
    """An access token that was granted and never came to be handed out uses up nothing."""

    async def has_left() -> bool:
        raise ending

    token = issuer.token()
    site.clock.step = 1.0
    with pytest.raises(ending):
        await site.exchange.decide(asking(token), Caller("10.1.2.3:4567", "curl/8", has_left))
    site.clock.step = 0.0
    assert len(site.tailscale.requests) == 1
    assert await gets_one(site, token)


@ENDINGS
async def test_what_nobody_thought_of_while_it_is_recorded(
    site: Site, issuer: FakeIssuer, ending: type[BaseException]
) -> None:
    """Nor does one whose recording for sure was broken off, or failed as nobody thought it could."""
    token = issuer.token()
    site.book.after_minting = ending()
    with pytest.raises(ending):
        await site.decide(asking(token))
    site.book.after_minting = None
    assert await gets_one(site, token)


class Harmed(MemoryState):
    """A state that does what it is asked to, and then ends as it is told."""

    def __init__(self) -> None:
        super().__init__(monotonic=time.monotonic)
        self.after_giving_back: BaseException | None = None
        self.after_taking: BaseException | None = None

    async def give_back(self, key: str, mark: str) -> None:
        """Give back, and end as told."""
        await super().give_back(key, mark)
        if self.after_giving_back is not None:
            raise self.after_giving_back

    async def take(self, key: str, rate: Rate, now: float, mark: str) -> int:
        """Take, and end as told."""
        seconds = await super().take(key, rate, now, mark)
        if self.after_taking is not None:
            raise self.after_taking
        return seconds


@ENDINGS
async def test_broken_off_between_token_and_rate(ending: type[BaseException]) -> None:
    """A giving back that is broken off after the token was given back gives back the use of the rate as well."""
    state = Harmed()
    await state.claim("token", NOW + 60, NOW, "first")
    await state.take("rate", ONE, NOW, "first")
    state.after_giving_back = ending()
    with pytest.raises(ending):
        await Usage(state).give_back(Use("first", claim="token", counted="rate", rate=ONE), NOW)
    assert await state.claim("token", NOW + 60, NOW, "second")
    assert await state.take("rate", ONE, NOW, "second") == 0


@ENDINGS
async def test_broken_off_while_it_is_counted(
    tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale, ending: type[BaseException]
) -> None:
    """A token whose use was being counted when the exchange was broken off can be used for another try."""
    state = Harmed()
    text = policy(issuer.url, single_use=True, rate_limit="9/day")
    async with exchanging(tmp_path / "policies", {"a": text}, tailscale, state=state) as site:
        token = issuer.token()
        state.after_taking = ending()
        with pytest.raises(ending):
            await site.decide(asking(token))
        state.after_taking = None
        assert len(tailscale.requests) == 0
        assert await gets_one(site, token)
