"""What policies bound: that a token buys one access token, and how often one subject may have any.

Both are asked after the decision and before the minting, so that nobody who is not allowed counts, and nobody gets a
token that was not counted.
"""

import hashlib
import random

from msgspec.structs import replace

from tailsts.oidc.token import UnverifiedToken
from tailsts.oidc.verify import LEEWAY
from tailsts.outcome import Use, Withheld
from tailsts.policy.decide import Terms
from tailsts.policy.rate import Rate
from tailsts.state.state import State

# A token is good for the leeway beyond its `exp`, and clocks are read some seconds earlier or later.
ACCEPTED_LONGER = LEEWAY + 5.0


class Usage:
    """Asks the state, which all workers and machines share that serve the same policies."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def claim(self, terms: Terms, policy: str, token: UnverifiedToken, now: float) -> Withheld | Use:
        """Count one use of the `policy`, and claim the `token` for it if it may be used once only.

        Return what was used up: to `give_back` if no access token comes of it. The token is one that the grant with
        these terms was made for, so that it is verified.

        Raises:
            StateUnavailableError: it cannot be counted.
        """
        # A name, no secret: it must be unlike all others.
        use = Use(f"{random.getrandbits(128):032x}")
        # First the token: one that was used, and stolen since, must not use up its subject's rate.
        if terms.bounds.single_use:
            use = replace(use, claim=identity(token))
            if not await self._state.claim(use.claim, terms.expires_at + ACCEPTED_LONGER, now, use.mark):
                return Withheld("replayed")
        if terms.bounds.rate is None:
            return use
        return await self._counted(use, digest("rate", policy, terms.issuer, terms.subject), terms.bounds.rate, now)

    async def _counted(self, use: Use, key: str, rate: Rate, now: float) -> Withheld | Use:
        """Count it for the rate as well. A subject that has to wait can come again with the same token."""
        try:
            seconds = await self._state.take(key, rate, now, use.mark)
        except BaseException:
            await self.give_back(use, now)
            raise
        if seconds:
            await self.give_back(use, now)
            return Withheld("rate_limited", seconds)
        return replace(use, counted=key, rate=rate)

    async def give_back(self, use: Use, now: float) -> None:
        """Let all be as if it had not been used: what it was used for did not come about."""
        try:
            if use.claim:
                await self._state.give_back(use.claim, use.mark)
        finally:
            # Also if this is broken off meanwhile.
            if use.rate is not None:
                await self._state.untake(use.counted, use.rate, now, use.mark)


def identity(token: UnverifiedToken) -> str:
    """Return what tells the token from all others: issuer, key and `jti` (RFC 7519, 4.1.7), else what was signed.

    With the key, since two clusters may have one issuer's name and give the same `jti`: by its id, which is signed too.
    Not by the place that the key came from: two policies may name two places of one key. Never the whole text: some
    signatures can be written in more than one way, and each would be a token of its own.
    """
    name = token.unverified_claims.get("jti")
    if isinstance(name, str) and name:
        return digest("jti", token.unverified_issuer, token.key_id or "", name)
    return digest("signed", token.signing_input.decode("ascii"))


def digest(*parts: str) -> str:
    """Return SHA-256 of the parts, in hexadecimal; where one ends and the next begins is part of it."""
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()
