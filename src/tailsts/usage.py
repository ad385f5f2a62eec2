"""What policies bound: that a token buys one access token, and how often one subject may have any.

Both are asked after the decision and before the minting, so that nobody who is not allowed counts, and nobody gets a
token that was not counted.
"""

import hashlib

from tailsts.errors import StateUnavailableError
from tailsts.oidc.token import UnverifiedToken
from tailsts.oidc.verify import LEEWAY
from tailsts.outcome import Withheld
from tailsts.policy.decide import Terms
from tailsts.state.state import State

# A token is good for the leeway beyond its `exp`, and clocks are read some seconds earlier or later.
ACCEPTED_LONGER = LEEWAY + 5.0


class Usage:
    """Asks the state, which all workers and machines share that serve the same policies."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def claim(self, terms: Terms, policy: str, token: UnverifiedToken, now: float) -> Withheld | str:
        """Count one use of the `policy`, and claim the `token` for it if it may be used once only.

        Return what was claimed, '' if nothing had to be: to `give_back` if no access token comes of it. The token is
        one that the grant with these terms was made for, so that it is verified.

        Raises:
            StateUnavailableError: it cannot be counted.
        """
        # First the token: one that was used, and stolen since, must not use up its subject's rate.
        claim = ""
        if terms.bounds.single_use:
            claim = identity(token)
            if not await self._state.claim(claim, terms.expires_at + ACCEPTED_LONGER, now):
                return Withheld("replayed")
        seconds = await self._waiting(terms, policy, now, claim)
        return Withheld("rate_limited", seconds) if seconds else claim

    async def _waiting(self, terms: Terms, policy: str, now: float, claim: str) -> int:
        """Return how many seconds the subject has to wait, 0 if it need not; then with the same token, if it has to."""
        if terms.bounds.rate is None:
            return 0
        key = digest("rate", policy, terms.issuer, terms.subject)
        try:
            seconds = await self._state.take(key, terms.bounds.rate, now)
        except StateUnavailableError:
            await self.give_back(claim)
            raise
        if seconds:
            await self.give_back(claim)
        return seconds

    async def give_back(self, claim: str) -> None:
        """Let the token be used after all: what it was claimed for, '' if nothing, did not come about."""
        if claim:
            await self._state.give_back(claim)


def identity(token: UnverifiedToken) -> str:
    """Return what tells the token from all others: issuer and `jti` (RFC 7519, 4.1.7), else what was signed.

    Never the whole text: some signatures can be written in more than one way, and each would be a token of its own.
    """
    name = token.unverified_claims.get("jti")
    if isinstance(name, str) and name:
        return digest("jti", token.unverified_issuer, name)
    return digest("signed", token.signing_input.decode("ascii"))


def digest(*parts: str) -> str:
    """Return SHA-256 of the parts, in hexadecimal; where one ends and the next begins is part of it."""
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()
