"""Faults: what should not happen, as exceptions. Verdicts about a token are values, not exceptions.

TailstsError
 ├── ConfigurationError            the service cannot start as it was told to
 ├── StrictJsonError               a text is not JSON, or is JSON that two readers could read differently
 ├── FileError                     a file that was named cannot be used
 ├── OutboundError                 one outgoing request got no usable answer
 ├── KeySetError                   an issuer answered, but not with a usable key set
 ├── RepositoryError               a git repository of policies could not be read
 └── ExchangeFault                 this exchange cannot be decided or finished now
      ├── UnavailableError         try again later (HTTP 503)
      │    ├── KeysUnavailableError
      │    ├── OpaUnavailableError
      │    ├── TailscaleUnavailableError
      │    │    └── TailscaleNotAskedError
      │    ├── StateUnavailableError
      │    └── AuditUnavailableError
      └── TailscaleAnswerError     Tailscale answered, and the answer is wrong (HTTP 502)
"""

from collections.abc import Sequence
from typing import Literal


class TailstsError(Exception):
    """Every fault that this package raises on purpose."""


class ConfigurationError(TailstsError):
    """The service cannot start as it was told to. `faults` holds one line for each thing to mend."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class StrictJsonError(TailstsError):
    """A text is not JSON, or is JSON that two readers could read differently. Never quotes the text."""


class FileError(TailstsError):
    """A file that was named cannot be used. The message goes on after the file's name: "is larger than ..."."""


OutboundKind = Literal["connect", "timeout", "too_large", "protocol"]


class OutboundError(TailstsError):
    """One outgoing request got no usable answer. `kind` is for code, the message for an operator."""

    def __init__(self, kind: OutboundKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class KeySetError(TailstsError):
    """An issuer answered, but not with a usable key set or discovery document."""


class RepositoryError(TailstsError):
    """A git repository of policies could not be read. Never quotes a credential."""


class ExchangeFault(TailstsError):  # noqa: N818 - the tree's inner node, read as "a fault of an exchange"
    """This exchange cannot be decided or finished now, whatever the token says.

    `reason` is the code in the audit event, the message is for the operator's log.
    """

    reason = "fault"


class UnavailableError(ExchangeFault):
    """Something that this exchange needs is not there now. `retry_after` is in whole seconds."""

    reason = "unavailable"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeysUnavailableError(UnavailableError):
    """The issuer's keys cannot be had, so nobody can say whether the token is good."""

    reason = "keys_unavailable"


class TailscaleUnavailableError(UnavailableError):
    """Tailscale does not answer, is overloaded, or asks to be left alone."""

    reason = "tailscale_unavailable"


class TailscaleNotAskedError(TailscaleUnavailableError):
    """Tailscale failed so often in a row that it was not asked."""


class StateUnavailableError(UnavailableError):
    """What remembers used tokens and rates cannot be asked."""

    reason = "state_unavailable"


class OpaUnavailableError(UnavailableError):
    """The Open Policy Agent that a policy names does not answer."""

    reason = "opa_unavailable"


class AuditUnavailableError(UnavailableError):
    """The audit log cannot be written and is required."""

    reason = "audit_unavailable"


class TailscaleAnswerError(ExchangeFault):
    """Tailscale answered, and the answer is wrong or says that this service is misconfigured."""

    reason = "tailscale_answer"
