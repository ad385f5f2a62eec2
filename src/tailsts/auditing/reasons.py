"""The reasons that an exchange can end with, as an audit log has them. Pure."""

import difflib
from collections.abc import Iterator
from typing import get_args, get_type_hints

from tailsts.errors import ExchangeFault
from tailsts.oidc.rejected import Reason
from tailsts.outcome import Withheld
from tailsts.policy.condition import Check
from tailsts.policy.decide import Refusal

# How alike two names are that may be meant for one another, from 0 to 1.
ALIKE = 0.6
MAX_NEAR = 3

# They stand where a request is read, each beside its message.
_MALFORMED = (
    *("bad_authorization", "bad_json", "bad_policy", "bad_scope", "bad_shape", "bad_tag", "body_missing"),
    *("body_too_large", "content_type", "method", "missing_scopes", "no_authorization", "token_too_long"),
    *("too_many_scopes", "too_many_tags"),
)


def _of_faults(kind: type[ExchangeFault]) -> Iterator[str]:
    yield kind.reason
    for child in kind.__subclasses__():
        yield from _of_faults(child)


REASONS = frozenset(
    {
        *("granted", "internal", "aborted", "unrecorded"),
        *(Refusal(check).reason for check in Check),
        *(reason.value for reason in Reason),
        *get_args(get_type_hints(Withheld)["reason"]),
        *_MALFORMED,
        *_of_faults(ExchangeFault),
    }
    # Of kinds of faults, which no exchange ends with.
    - {"fault", "unavailable"}
)


def advice(reason: str) -> str:
    """Return which reasons may be meant by one that does not exist."""
    near = difflib.get_close_matches(reason.lower(), sorted(REASONS), n=MAX_NEAR, cutoff=ALIKE)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(REASONS))}"
