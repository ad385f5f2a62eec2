"""Patterns: RE2, matched against the whole of a value.

RE2 takes time in proportion to the value, whatever the pattern. The whole value must match, by the engine's own
anchoring: no text is wrapped around a pattern, so an alternation or a parenthesis in it cannot get out of its place.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

MAX_PATTERN_LENGTH = 256
# No claim that says who somebody is comes near it, and it bounds what a contrived pattern costs: the worst that was
# found, [ab]*a[ab]{1000}, takes 36 ms for that much. Usual ones take microseconds.
MAX_VALUE_BYTES = 4096
# For each pattern, of which there may be 10,000, in place of RE2's 8 MiB. It caps the program, here at some 4,500
# steps, and the automaton that grows with the values seen; an automaton that would outgrow it is done without, which is
# slower, never wrong. A usual pattern takes 20 KiB in all.
_MAX_MEMORY = 128 * 1024
_MAX_QUOTED = 60
# Where flags may be set. The other groups are (?:..), (?P<name>..) and (?<name>..).
_PERHAPS_FLAGS = re.compile(r"\(\?(?!:|P?<)")


class PatternError(ValueError):
    """The text is not a pattern that is accepted. The message says why, as "it ..."."""


class Pattern(msgspec.Struct, frozen=True, eq=False):
    """A pattern, made by `compile_pattern` alone. Equal to any other of the same text."""

    text: str
    program: Any

    def matches(self, value: str) -> bool:
        """Return whether the whole of `value` matches. One of more than `MAX_VALUE_BYTES` never does."""
        try:
            # Bytes, because for a str RE2 also counts the characters of what it found.
            encoded = value.encode()
        except UnicodeEncodeError:
            # Half a surrogate pair is no text.
            return False
        return len(encoded) <= MAX_VALUE_BYTES and self.program.fullmatch(encoded) is not None

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return self.text == other.text if isinstance(other, Pattern) else NotImplemented

    def __hash__(self) -> int:
        """Hash the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Show the text."""
        return f"Pattern({self.text!r})"


# Policies of one house mostly have the same few patterns.
@lru_cache(maxsize=4096)
def compile_pattern(text: str) -> Pattern:
    """Return the pattern that `text` writes.

    Raises:
        PatternError: It is empty, too long, too large, sets flags, or is not RE2.
    """
    if not text:
        raise PatternError("it is empty")
    if len(text) > MAX_PATTERN_LENGTH:
        raise PatternError(f"it is longer than {MAX_PATTERN_LENGTH} characters")
    try:
        program = _compile(text)
    except UnicodeEncodeError:
        raise PatternError("it holds half a surrogate pair, which is no text") from None
    except library().error as error:
        raise PatternError(_in_our_words(error)) from None
    if _sets_flags(text):
        raise PatternError(
            "it sets flags with (?..), which change what the rest of it means: write [Aa] for either case"
        )
    return Pattern(text, program)


@lru_cache(maxsize=1)
def library() -> Any:  # noqa: ANN401 - the library ships without types
    """Return RE2, loaded only where a policy has a pattern: it takes megabytes."""
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 - as was just said

    return re2


def _compile(text: str) -> Any:  # noqa: ANN401 -- the library has no types
    re2 = library()
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    # Nobody asks what a group matched, and without that the fast automaton is enough.
    options.never_capture = True
    return re2.compile(text, options)


def _in_our_words(error: Exception) -> str:
    reason = error.args[0] if error.args else b""
    said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    if said.startswith("pattern too large"):
        return "it is too large: its repeats with counts, or its \\p classes, multiply to too many steps"
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in said)
    return f"it is not RE2: {shown if len(shown) <= _MAX_QUOTED else shown[:_MAX_QUOTED] + '...'}"


def _sets_flags(text: str) -> bool:
    """Return whether `text`, which is RE2, sets flags.

    RE2 itself tells: where "(?" opens a group, "(?!" is refused; within a class, after a backslash or in a quotation
    it is plain characters.
    """
    return any(not _is_re2(f"{text[: place.end()]}!{text[place.end() :]}") for place in _PERHAPS_FLAGS.finditer(text))


def _is_re2(text: str) -> bool:
    try:
        _compile(text)
    except library().error:
        return False
    return True
