"""Values that must not be seen: they mask themselves wherever they could be printed."""

import hashlib
from typing import Never


class Secret:
    """A text that is shown only by `reveal()`. `repr`, `str`, formatting and pickling give nothing away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself. Every call of this is a place to review."""
        return self._value

    def __repr__(self) -> str:
        """Return the type's name alone."""
        return f"{type(self).__name__}(***)"

    __str__ = __repr__

    def __format__(self, format_spec: str, /) -> str:
        """Return the same, whatever the format."""
        return repr(self)

    def __reduce__(self) -> Never:
        """Refuse to be pickled or copied."""
        message = "a secret is not serialised"
        raise TypeError(message)


class AccessToken(Secret):
    """A Tailscale API access token, minted for exactly one exchange and never kept.

    `scopes` and `tags` are those that Tailscale said it granted; `expires_in` is its lifetime in seconds (RFC 6749,
    5.1).
    """

    __slots__ = ("expires_in", "scopes", "tags")

    def __init__(self, value: str, scopes: tuple[str, ...], expires_in: int, tags: tuple[str, ...] = ()) -> None:
        self._value = value
        self.scopes = scopes
        self.expires_in = expires_in
        self.tags = tags

    def fingerprint(self) -> str:
        """Return the token's SHA-256 as 64 hexadecimal digits: what the audit log keeps of it."""
        return hashlib.sha256(self._value.encode()).hexdigest()


def refuse_secret(text: str) -> str | None:
    """Return why `text` cannot be a client secret, to go on after its name, or None if it can.

    Whatever it is, it is sent to Tailscale: what was meant for something else should not be.
    """
    if not text:
        return "is empty"
    if not text.isascii():
        return "does not hold a secret: it is not ASCII"
    if not text.isprintable() or " " in text:
        return "does not hold a secret: one line without blanks"
    return None
