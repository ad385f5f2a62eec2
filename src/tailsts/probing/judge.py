"""What came of a probe, and whether that is what was expected. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import decode
from tailsts.probing.answers import FORBIDDEN, OK, UNAUTHORIZED, Told
from tailsts.probing.plan import Probe

_HANDED_OUT = "a token was handed out"


class Said(msgspec.Struct, frozen=True):
    """What a server answered; a token that it handed out is not in it. `decision` is '' if it named none."""

    status: int
    message: str
    decision: str = ""


class NoAnswer(msgspec.Struct, frozen=True):
    """The server could not be reached, or broke off, or what answered is no HTTP."""

    fault: str


class NotAsked(msgspec.Struct, frozen=True):
    """There was no token to ask with."""

    fault: str


Came = Said | NoAnswer | NotAsked


class Result(msgspec.Struct, frozen=True):
    """A probe, and what came of it. `fault` says why that is not as expected, '' if it is."""

    probe: Probe
    came: Came
    seconds: float
    fault: str

    @property
    def status(self) -> int:
        """The HTTP status, 0 if there is none."""
        return self.came.status if isinstance(self.came, Said) else 0


class Round(msgspec.Struct, frozen=True):
    """What came of all probes; `ended` is in seconds since the epoch."""

    results: Sequence[Result]
    ended: float

    @property
    def failed(self) -> int:
        """How many did not come out as expected."""
        return sum(bool(result.fault) for result in self.results)

    @property
    def unreachable(self) -> bool:
        """Whether nothing worse happened than that the server could not be reached."""
        failed = [result for result in self.results if result.fault]
        return bool(failed) and all(isinstance(result.came, NoAnswer) for result in failed)


def fault_of(probe: Probe, came: Came, token: str, now: float) -> str:
    """Return why what came of the probe is not as expected, '' if it is. `now` judges the age of its token."""
    match came:
        case NotAsked(fault=fault):
            return fault
        case NoAnswer(fault=fault):
            return f"no answer: {fault}"
        case Said():
            fault = _fault(probe.told, came)
            return f"{fault}{_hint(token, now)}" if fault and came.status == UNAUTHORIZED else fault


def _fault(told: Told, said: Said) -> str:
    if said.status != told.status:
        what = _HANDED_OUT if said.status == OK else said.message
        wanted = f"{told.status} ({_HANDED_OUT})" if told.status == OK else _wanted(told)
        return f"expected {wanted}, but the server answered {said.status}: {what}"
    if told.status in {UNAUTHORIZED, FORBIDDEN} and not said.decision:
        return f"{told.status} without a decision id: something answered that is no TailSTS, like a proxy before it"
    if told.message and told.message not in {said.message, said.message.removeprefix("denied: ")}:
        return f"expected {_wanted(told)}, but the server said: {said.message}"
    return ""


def _wanted(told: Told) -> str:
    return f"{told.status}: {told.message}" if told.message else str(told.status)


def _hint(token: str, now: float) -> str:
    # The most usual reason, which the server does not tell anybody.
    decoded = decode(token)
    if isinstance(decoded, Rejected):
        return f"; the token cannot be read: {decoded.detail}"
    claims: Mapping[str, object] = decoded.unverified_claims
    expires = claims.get("exp")
    if isinstance(expires, int | float) and expires <= now:
        return f"; the token expired {int(now - expires)} s ago"
    return ""
