"""The OIDC tokens that probes ask with: read once in each round, as whoever renews them may do so at any time."""

import re
from collections.abc import Mapping

from tailsts.credentials import Secret
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.probing.plan import TokenSource

MAX_TOKEN_BYTES = 64 * 1024

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class TokenError(ValueError):
    """There is no token where it should be. Never quotes what is there instead."""


class Tokens:
    """The tokens of one round: whoever probes that one is not taken twice presents the same one twice."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._read: dict[TokenSource, Secret] = {}

    def of(self, source: TokenSource) -> Secret:
        """Return the token.

        Raises:
            TokenError: there is none.
        """
        if source not in self._read:
            self._read[source] = _token(_text(source, self._environment), source)
        return self._read[source]


def tampered(token: Secret) -> Secret:
    """Return the token with another signature."""
    signed, dot, signature = token.reveal().rpartition(".")
    # Its first character: the last ones may hold bits that count for nothing.
    other = "A" if signature[:1] != "A" else "B"
    return Secret(f"{signed}{dot}{other}{signature[1:]}")


def _text(source: TokenSource, environment: Mapping[str, str]) -> str:
    if source.file is None:
        return environment.get(source.variable, "")
    try:
        return read_bounded(source.file, MAX_TOKEN_BYTES).decode("ascii", "replace")
    except FileError as error:
        raise TokenError(f"token_file {source.file} {error}") from None


def _token(text: str, source: TokenSource) -> Secret:
    named = f"token_env {source.variable}" if source.file is None else f"token_file {source.file}"
    text = text.strip()
    if not text:
        raise TokenError(f"{named} is empty" if source.file is not None else f"{named} is not set, or empty")
    if not _TOKEN.fullmatch(text):
        raise TokenError(f"{named} holds no token: blanks, or other characters that no token has")
    return Secret(text)
