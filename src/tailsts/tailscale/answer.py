"""What Tailscale's token endpoint says, read with suspicion. Pure.

A token is only passed on if the answer says that it is no wider than asked (RFC 6749, 5.1): Tailscale has been
seen to grant everything when it did not understand the question.
"""

import re

import msgspec

from tailsts.credentials import AccessToken
from tailsts.errors import TailscaleAnswerError
from tailsts.scopes import is_within

# One hour is what Tailscale gives; more than a day is nothing that it ever documented.
MAX_EXPIRES_IN = 24 * 3600
MAX_TOKEN_LENGTH = 4096
DEFAULT_WAIT, MAX_WAIT = 5, 300
MAX_ERROR_TEXT = 300

# Keys and tokens of Tailscale and headscale: should an error message ever quote one, it goes no further.
_KEY = re.compile(r"(tskey|hskey)-[A-Za-z0-9_-]+", re.IGNORECASE)


class _Answer(msgspec.Struct):
    """RFC 6749, 5.1. Members that the RFC leaves optional are required here: what is not said cannot be checked."""

    access_token: str
    token_type: str
    expires_in: int | str
    scope: str
    # Beyond the RFC: Tailscale adds the tags, separated by spaces; headscale says nothing of them.
    tags: str | None = None
    error: object = None


class _ErrorAnswer(msgspec.Struct):
    """Tailscale's own shape, `{"message"}`, or that of RFC 6749, 5.2."""

    message: str = ""
    error: str = ""
    error_description: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)
_ERROR_ANSWER = msgspec.json.Decoder(_ErrorAnswer)


def access_token(body: bytes, asked: tuple[str, ...], asked_tags: tuple[str, ...] = ()) -> AccessToken:
    """Return the token in the `body` of a successful answer to a request for the scopes `asked` and these tags.

    Where no tags were asked for, those in the answer are what the OAuth client has, and are noted as they are.

    Raises:
        TailscaleAnswerError: it is not such an answer, or one that must not be passed on.
    """
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec names members and types in its messages, never values.
        raise TailscaleAnswerError(f"Tailscale's answer is not a token response: {error}") from None
    if answer.error is not None:
        raise TailscaleAnswerError("Tailscale's answer holds an error and a token")
    if answer.token_type.lower() != "bearer":
        raise TailscaleAnswerError("Tailscale's answer is not a bearer token")
    if not _is_token(answer.access_token):
        raise TailscaleAnswerError("Tailscale's answer holds an empty or malformed token")
    expires_in = _expires_in(answer.expires_in)
    if expires_in is None:
        raise TailscaleAnswerError("Tailscale's answer has an expires_in that makes no sense")
    granted = tuple(answer.scope.split())
    if not granted or (granted != asked and not _is_within(granted, asked)):
        raise TailscaleAnswerError(
            f"Tailscale granted other scopes ({_shown(answer.scope)}) than asked ({' '.join(asked)}); "
            "the token was not passed on",
        )
    tags = _tags(answer.tags, asked_tags)
    return AccessToken(answer.access_token, granted, expires_in, tags)


def error_text(body: bytes) -> str:
    """Return what an error answer says, as one short line that is safe to log."""
    try:
        answer = _ERROR_ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "not an answer of Tailscale's API" if body else "no text"
    text = answer.message or " ".join(filter(None, (answer.error, answer.error_description)))
    return _shown(text) if text else "no text"


def seconds_to_wait(retry_after: str | None) -> int:
    """Return the seconds that a Retry-After field asks for (RFC 9110, 10.2.3), within 1 to 300.

    A date in it, or nothing, counts as 5.
    """
    if retry_after is None:
        return DEFAULT_WAIT
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(max(int(text[:9]), 1), MAX_WAIT)
    return DEFAULT_WAIT


def _is_token(text: str) -> bool:
    return 0 < len(text) <= MAX_TOKEN_LENGTH and text.isascii() and text.isprintable() and " " not in text


def _expires_in(value: int | str) -> int | None:
    # Some servers write the number as a string.
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 9):  # noqa: PLR2004 - digits
            return None
        value = int(value)
    return value if 0 < value <= MAX_EXPIRES_IN else None


def _is_within(granted: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    allowed = frozenset(asked)
    return all(is_within(scope, allowed) for scope in granted)


def _tags(said: str | None, asked: tuple[str, ...]) -> tuple[str, ...]:
    # A server that knows no tags in its answers, such as headscale, was asked for these all the same.
    granted = () if said is None else tuple(dict.fromkeys(said.split()))
    beyond = [tag for tag in granted if tag not in asked] if asked else []
    if beyond:
        raise TailscaleAnswerError(
            f"Tailscale granted tags ({_shown(' '.join(beyond))}) beyond those asked ({' '.join(asked)}); "
            "the token was not passed on",
        )
    return granted


def _shown(text: str) -> str:
    shown = _KEY.sub(r"\1-***", text[:MAX_ERROR_TEXT])
    return shown if shown.isprintable() else ascii(shown)
