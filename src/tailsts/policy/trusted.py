"""The organisation's allow-list of issuers, which stands above all policies. Pure."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from tailsts.policy.issuers import refuse_issuer
from tailsts.policy.patterns.issuer_pattern import refuse_issuer_pattern
from tailsts.policy.patterns.pattern import Pattern, PatternError, compile_pattern
from tailsts.policy.reader import Reader

Mode = Literal["enforce", "audit"]
MODES: tuple[Mode, ...] = ("enforce", "audit")


class TrustedIssuers(msgspec.Struct, frozen=True):
    """Whose tokens may be accepted at all, whatever policies say.

    `mode` enforce: tokens of others are rejected; audit: they pass, and the event says what would have been.
    """

    mode: Mode
    issuers: frozenset[str] = frozenset()
    patterns: tuple[Pattern, ...] = ()

    def permits(self, issuer: str) -> bool:
        """Return whether the issuer is one of them."""
        if issuer in self.issuers:
            return True
        # A pattern fixes the shape of what it matches, not all that an issuer has to be.
        return any(pattern.matches(issuer) for pattern in self.patterns) and refuse_issuer(issuer) is None


def read_trusted_issuers(reader: Reader) -> TrustedIssuers:
    """Read the table of the allow-list. What is wrong is noted on the reader's page; then the result is not to be used.

    An allow-list that names nobody is a fault: it must not pass for one that was not meant.
    """
    mode = _mode(reader)
    issuers = reader.list_of_texts("issuers")
    for issuer in issuers:
        if reason := refuse_issuer(issuer):
            reader.fault("issuer", "issuers", f"{issuer!r} cannot be used: {reason}", "copy the iss of a real token")
    patterns = tuple(_patterns(reader))
    if not reader.has("issuers") and not reader.has("issuer_patterns"):
        reader.fault("missing", "issuers", "is missing, and issuer_patterns too: nobody would be trusted")
    return TrustedIssuers(mode, frozenset(issuers), patterns)


def _mode(reader: Reader) -> Mode:
    text = reader.text("mode")
    found = next((mode for mode in MODES if mode == text), None)
    if found is None and text is not None:
        reader.fault("mode", "mode", f"is {text!r}, not one of {', '.join(MODES)}")
    return found or "enforce"


def _patterns(reader: Reader) -> Iterator[Pattern]:
    for text in reader.list_of_texts("issuer_patterns"):
        try:
            pattern = compile_pattern(text)
        except PatternError as error:
            reader.fault("pattern", "issuer_patterns", f"{text!r} cannot be used: {error}")
            continue
        if refused := refuse_issuer_pattern(text):
            reader.fault(
                "issuer-pattern", "issuer_patterns", f"{text!r} cannot be used: {refused.reason}", refused.advice
            )
        else:
            yield pattern
