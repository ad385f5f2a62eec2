"""The verdict "not to be trusted": a value that is audited, never shown to the caller in detail."""

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why a token was not believed. The values are the reason codes of the audit log and the metrics."""

    MALFORMED = "malformed_token"
    HEADER = "header_refused"
    ALGORITHM = "algorithm_refused"
    CLAIM = "claim_invalid"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNTRUSTED_ISSUER = "untrusted_issuer"
    UNKNOWN_KEY = "unknown_key"
    AMBIGUOUS_KEY = "ambiguous_key"
    KEY_MISMATCH = "key_algorithm_mismatch"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUED_IN_FUTURE = "issued_in_future"


class Rejected(msgspec.Struct, frozen=True):
    """Not to be trusted. `detail` is in our own words and names claims and header parameters, never their values."""

    reason: Reason
    detail: str
