"""What a policy for one token is made from: what pins the token, why, and which tokens are near and not meant. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tailsts.policy.claims import Path, Scalar, lookup

Claims = Mapping[str, object]
# What was said for each field of a service, by the field's name.
Said = Mapping[str, str]

# Stands for the audience of whoever runs this service, until it is named.
PLACEHOLDER_AUDIENCE = "https://sts.example.com"
CLAIM, SUBJECT, AUDIENCE = "claim_not_allowed", "subject_not_allowed", "audience_not_allowed"

_WORDS = re.compile(r"[a-z0-9]+")
_MAX_NAME_LENGTH = 60
_NUMBER = re.compile(r"[1-9][0-9]{0,30}")
# Bitbucket puts them into braces.
_UUID = re.compile(r"(\{?[0-9a-fA-F-]{35})([0-9a-fA-F])(\}?)")


class Pin(msgspec.Struct, frozen=True):
    """A claim that must have just this value, and why."""

    path: Path
    value: Scalar
    why: str


class Neighbour(msgspec.Struct, frozen=True):
    """A token that is like the one that is meant but for some claims, and the reason for which it is denied."""

    name: str
    changes: Mapping[Path, object]
    reason: str = CLAIM


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """What pins one token.

    `name` is proposed for the policy, `who` says in words who is meant. `subject` says why the subject is pinned; None:
    it is not, and `without_subject` says why. `warnings` are for whoever asked.
    """

    name: str
    who: str
    pins: Sequence[Pin] = ()
    subject: str | None = None
    without_subject: str = ""
    neighbours: Sequence[Neighbour] = ()
    warnings: Sequence[str] = ()


class Field(msgspec.Struct, frozen=True):
    """Something to be said about a workload where there is no token of it. It is required if `usual` is None.

    `among` has what can be said, if that is not free; `form` is a pattern of it, with an `example`. `meant` returns
    what somebody means who says it in a shorter way.
    """

    name: str
    about: str
    usual: str | None = None
    among: Sequence[str] = ()
    form: str = r"[\s\S]*"
    example: str = ""
    meant: Callable[[str], str] = str


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service whose tokens are known: how to tell them, what pins one, and how to make up the claims of one.

    `default_audiences` are those of a token that was made for something else, as far as the claims tell. `lookup`
    returns the command that says the ids.
    """

    name: str
    title: str
    recognises: Callable[[Claims], bool]
    sketch: Callable[[Claims], Sketch]
    fields: Sequence[Field] = ()
    claims: Callable[[Said], Claims] | None = None
    algorithm: str = "RS256"
    default_audiences: Callable[[Claims], Sequence[str]] = lambda _: ()
    lookup: Callable[[Said], str] | None = None


def text(claims: Claims, *path: str) -> str:
    """Return the claim at the path if it is text, else ''."""
    value = lookup(claims, path)
    return value if isinstance(value, str) else ""


def has_texts(claims: Claims, *names: str) -> bool:
    """Return whether all these claims are there, with text in them."""
    return all(text(claims, name) for name in names)


def pin(claims: Claims, path: Path | str, why: str) -> tuple[Pin, ...]:
    """Return the pin of the claim at the path, or none if the token says nothing there."""
    where = (path,) if isinstance(path, str) else path
    value = lookup(claims, where)
    if isinstance(value, str | bool | int | float) and value != "":
        return (Pin(where, value, why),)
    return ()


def other(value: str) -> str:
    """Return another value of the same kind: the next number, an id that ends differently, or a longer name."""
    if _NUMBER.fullmatch(value):
        return str(int(value) + 1)
    if found := _UUID.fullmatch(value):
        return f"{found[1]}{'1' if found[2] == '0' else '0'}{found[3]}"
    return f"{value}-2"


def name_of(*parts: str) -> str:
    """Return a name for a policy, of the words in these parts."""
    words = [word for part in parts for word in _WORDS.findall(part.lower())]
    return "-".join(words)[:_MAX_NAME_LENGTH].strip("-") or "policy"


def words(*parts: str) -> str:
    """Return the parts that are not empty, in a row."""
    return ", ".join(part for part in parts if part)


def said(values: Said, names: Mapping[str, str]) -> dict[str, object]:
    """Return the claims that these fields say: `names` has the claim's name for each field."""
    return {claim: values[field] for field, claim in names.items() if values.get(field)}
