"""What a server tells callers of a denial, by its reason code: what a probe can expect. Pure."""

import msgspec


class Told(msgspec.Struct, frozen=True):
    """HTTP status and message, without the decision id at its end."""

    status: int
    message: str


OK, UNAUTHORIZED, FORBIDDEN = 200, 401, 403

# Of a token that was not believed, nobody outside learns why: all these reasons have one answer.
INVALID_TOKEN = Told(UNAUTHORIZED, "invalid token")

# A server says no more than these words of its policies, so no probe can tell more.
BY_REASON = {
    "policy_not_allowed": Told(FORBIDDEN, "denied: no such policy for this token"),
    "subject_not_allowed": Told(FORBIDDEN, "denied: subject not allowed"),
    "claim_not_allowed": Told(FORBIDDEN, "denied: claims not allowed"),
    "condition_not_allowed": Told(FORBIDDEN, "denied: condition not met"),
    "audience_not_allowed": Told(FORBIDDEN, "denied: audience not allowed"),
    "algorithm_not_allowed": Told(FORBIDDEN, "denied: algorithm not allowed"),
    "lifetime_not_allowed": Told(FORBIDDEN, "denied: lifetime of the token not allowed"),
    "age_not_allowed": Told(FORBIDDEN, "denied: age of the token not allowed"),
    "period_not_allowed": Told(FORBIDDEN, "denied: not allowed at this time"),
    "scope_not_allowed": Told(FORBIDDEN, "denied: scopes not allowed"),
    "tag_not_allowed": Told(FORBIDDEN, "denied: tags not allowed"),
    "opa_not_allowed": Told(FORBIDDEN, "denied: not allowed by Open Policy Agent"),
    "replayed": Told(FORBIDDEN, "denied: the token was used already"),
    "rate_limited": Told(429, "too many requests"),
    "invalid_token": INVALID_TOKEN,
}

_PREFIX = "denied: "


def expected(reason: str) -> Told | None:
    """Return the answer that a reason names, by its code or in the server's words; None if it is not known."""
    if told := BY_REASON.get(reason):
        return told
    words = {reason, _PREFIX + reason}
    return next((told for told in BY_REASON.values() if told.message in words), None)
