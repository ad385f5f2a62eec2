"""What can be said of a pattern of issuers before any token is seen.

Keys are looked up where an issuer says that it is. So a pattern must not leave open whose host that is, nor in which
part of the URL a variable part ends up. `refuse_issuer` still has to judge each issuer that a pattern matches.
"""

import re
from collections.abc import Iterable
from itertools import pairwise, takewhile

import msgspec

from tailsts.policy.issuers import refuse_issuer
from tailsts.policy.patterns.language import NOTHING, can_be_made_of, can_match_char, first_beyond
from tailsts.policy.patterns.suffixes import is_everybodys, open_suffix
from tailsts.policy.patterns.syntax import CharSet, Literal, Node, Sequence, char_set, parse

_Nodes = tuple[Node, ...]

_SCHEME = "https://"
# Every negated class matches it, and the dot.
_FAR_CHARACTER = chr(0x10FFFF)
_SMALL = ((ord("a"), ord("z")), (ord("0"), ord("9")), (ord("-"), ord("-")))
_HOST_CHARACTERS = char_set(*_SMALL)
# What `refuse_issuer` takes within a segment, without what means something in other places of a URL: @ and braces.
_PATH_CHARACTERS = char_set(*_SMALL, (ord("A"), ord("Z")), *((ord(mark), ord(mark)) for mark in "._~:"))
_DIGITS = char_set((ord("0"), ord("9")))
_DOT = char_set((ord("."), ord(".")))
# Two labels at least, and no address: its last label is a number.
_CLOSED = re.compile(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*")


class IssuerPatternFault(msgspec.Struct, frozen=True):
    """Why a pattern cannot be one of issuers, as "it ...", and how to write it."""

    reason: str
    advice: str


def refuse_issuer_pattern(text: str) -> IssuerPatternFault | None:
    """Return what keeps `text`, which `compile_pattern` takes, from being a pattern of issuers, or None.

    What is accepted matches https URLs alone, with the same slashes in the same places, without user names, queries
    and fragments; if the host varies at all, it does so below a fixed name that somebody owns; and a host where
    everybody has a path only with the first part of the path.
    """
    node = parse(text)
    if node is None:
        advice = "write it with plain characters, classes, groups and repeats"
        return IssuerPatternFault("it uses syntax that is not read in a pattern of issuers", advice)
    parts = node.parts if isinstance(node, Sequence) else (node,)
    if _plain_start(parts)[: len(_SCHEME)] != _SCHEME:
        return IssuerPatternFault("it does not start with a plain https://", r"like https://[a-z0-9-]+\.example\.com")
    host, *segments = _split(parts[len(_SCHEME) :], "/")
    # The skeleton, before host and path, so that what these see is known to have the shape of a URL.
    return (
        _refuse_parts(_variable(parts))
        or _refuse_port(host)
        or _refuse_skeleton(parts)
        or _refuse_host(host)
        or _refuse_shared_path(host, segments)
        or next((fault for segment in segments if (fault := _refuse_segment(segment))), None)
    )


def _refuse_parts(variable: _Nodes) -> IssuerPatternFault | None:
    if any(can_match_char(part, _FAR_CHARACTER) for part in variable):
        reason = "it has a dot, or a class of all but some, which matches nearly any character"
        return IssuerPatternFault(reason, r"write \. for a dot, and a class, such as [a-z0-9-]+, for what varies")
    if any(can_match_char(part, "/") for part in variable):
        reason = "a part of it that varies can match a slash"
        return IssuerPatternFault(reason, "write each slash plainly, outside of classes, groups and repeats")
    return None


def _refuse_port(host: _Nodes) -> IssuerPatternFault | None:
    # Before the skeleton, which would take a letter for what varies in it.
    port = host[len(_without_port(host)) + 1 :]
    if not _variable(port) or _beyond(port, _DIGITS):
        return None
    return IssuerPatternFault("its port varies", "write the port plainly, in a policy for each")


def _refuse_skeleton(parts: _Nodes) -> IssuerPatternFault | None:
    # A letter may stand in a label and in a path, and nowhere else.
    reason = refuse_issuer("".join(part.character if isinstance(part, Literal) else "a" for part in parts))
    return IssuerPatternFault(reason, "write it like the iss claims of real tokens") if reason else None


def _refuse_host(host: _Nodes) -> IssuerPatternFault | None:
    variable = _variable(host)
    if not variable:
        return None
    if beyond := _beyond(variable, _HOST_CHARACTERS):
        reason = f"what varies in its host can match {beyond!r}"
        return IssuerPatternFault(reason, r"classes of a-z, 0-9 and -, with \. between them")
    if any(_variable(label) and _can_be_made_of(label, NOTHING) for label in _split(host, ".")):
        return IssuerPatternFault("a label of its host may be empty", "write + in place of *")
    # What precedes the first dot only ends a label that varies.
    suffix = _plain_start(host[::-1])[::-1].partition(":")[0].partition(".")[2]
    if not _CLOSED.fullmatch(suffix):
        reason = "what varies in its host is not below a fixed name, so the host may be anybody's"
        return IssuerPatternFault(reason, r"end the host in at least two plain labels, such as \.example\.com")
    labels = _split(_without_port(host), ".")
    if found := open_suffix(labels):
        what = "a path at" if found.count(".") + 1 == len(labels) else "a name below"
        if found.startswith("*."):
            # The rule is for each of such names: say the one that stands here, if it does.
            label = labels[-found.count(".") - 1]
            found = f"{_plain_start(label)}{found[1:]}" if not _variable(label) else f"hosts like {found}"
        advice = "name the host, in a policy for each; or let vary only what is below a name there that is yours"
        return IssuerPatternFault(f"everybody can have {what} {found}", advice)
    return None


def _refuse_shared_path(host: _Nodes, segments: list[_Nodes]) -> IssuerPatternFault | None:
    """Refuse a host where each has a path of their own, unless that path is named."""
    name = _plain_start(_without_port(host)).removesuffix(".")
    if _variable(host) or not segments or not _variable(segments[0]) or not is_everybodys(name):
        return None
    advice = f"write the first part of the path plainly, one of yours, like {name}/acme/[a-z0-9-]+"
    return IssuerPatternFault(f"everybody can have a path at {name}", advice)


def _refuse_segment(segment: _Nodes) -> IssuerPatternFault | None:
    variable = _variable(segment)
    if beyond := _beyond(variable, _PATH_CHARACTERS):
        reason = f"what varies in its path can match {beyond!r}"
        return IssuerPatternFault(reason, "classes of letters, digits and any of - . _ ~ :")
    if variable and _can_be_made_of(segment, _DOT):
        reason = "a part of its path may be empty, or dots alone"
        return IssuerPatternFault(reason, "write + in place of *, and a class without the dot")
    return None


def _without_port(host: _Nodes) -> _Nodes:
    return _split(host, ":")[0]


def _beyond(parts: _Nodes, allowed: CharSet) -> str | None:
    return next(filter(None, (first_beyond(part, allowed) for part in parts)), None)


def _can_be_made_of(parts: _Nodes, allowed: CharSet) -> bool:
    return can_be_made_of(Sequence(parts), allowed)


def _variable(parts: _Nodes) -> _Nodes:
    return tuple(part for part in parts if not isinstance(part, Literal))


def _plain_start(parts: Iterable[Node]) -> str:
    return "".join(takewhile(bool, (part.character if isinstance(part, Literal) else "" for part in parts)))


def _split(parts: _Nodes, character: str) -> list[_Nodes]:
    places = [at for at, part in enumerate(parts) if part == Literal(character)]
    return [parts[start + 1 : end] for start, end in pairwise([-1, *places, len(parts)])]
