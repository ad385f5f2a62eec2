"""Hosts at which everybody can have something: a name below them, or a path. From the public suffix list, and ours.

A host is closed only if whatever varies in it stays below one name that somebody owns: the label right below the
suffix. So the labels of a pattern are walked through the list from the right; a label that varies takes each way that
it matches.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from tailsts.policy.patterns.language import matches
from tailsts.policy.patterns.syntax import Literal, Node
from tailsts.policy.patterns.syntax import Sequence as Parts

Label = tuple[Node, ...]

# What the public list has not: those who own these have not asked to be on it, or it is only a path that they give.
_OURS = (
    # Storage, and forges that serve what anybody wrote.
    *("storage.googleapis.com", "storage.cloud.google.com", "commondatastorage.googleapis.com"),
    *("raw.githubusercontent.com", "gist.githubusercontent.com", "media.githubusercontent.com"),
    *("github.com", "gitlab.com", "bitbucket.org", "codeberg.org"),
    *("*.digitaloceanspaces.com", "*.linodeobjects.com", "*.r2.cloudflarestorage.com", "*.wasabisys.com"),
    *("*.backblazeb2.com", "*.vultrobjects.com", "*.your-objectstorage.com"),
    # Programs and pages.
    *("run.app", "a.run.app", "railway.app", "azurecontainerapps.io", "*.azurecontainerapps.io", "cloudapp.azure.com"),
    *("*.cloudapp.azure.com", "elb.amazonaws.com", "*.elb.amazonaws.com", "glitch.me", "wordpress.com"),
    *("sharepoint.com", "github.dev", "app.github.dev", "replit.dev"),
    # Tunnels to anybody's machine, and names for any address.
    *("loca.lt", "serveo.net", "lhr.life", "lhr.rocks", "pinggy.link", "devtunnels.ms", "*.devtunnels.ms"),
    *("share.zrok.io", "nip.io", "sslip.io", "xip.io", "traefik.me"),
    # Identity services that give each customer a name, who then says what the tokens hold.
    *("auth0.com", "*.auth0.com", "okta.com", "oktapreview.com", "onelogin.com", "b2clogin.com", "ciamlogin.com"),
    *("cloudflareaccess.com", "zitadel.cloud", "fusionauth.io", "cloud.logto.app", "descope.com"),
)
# Of the service's own, in whatever region: whose cluster or pool it is stands in the path.
_OPERATED = (
    ("oidc", "eks", "*", "amazonaws", "com"),
    ("oidc", "eks", "*", "amazonaws", "com", "cn"),
    ("oidc-eks", "*", "api", "aws"),
    ("cognito-idp", "*", "amazonaws", "com"),
)


class Suffixes(msgspec.Struct, frozen=True):
    """The list. `below` has the labels that go on from each ending, `exceptions` what a wildcard does not take."""

    rules: frozenset[str]
    exceptions: frozenset[str]
    below: dict[str, dict[str, None]]


def is_plain(label: Label) -> bool:
    """Return whether nothing varies in the label."""
    return all(isinstance(part, Literal) for part in label)


def open_suffix(labels: Sequence[Label]) -> str:
    """Return the suffix below which everybody can have the host that varies, or which is that host; '' if none is."""
    if any(_fits(labels, operated) for operated in _OPERATED):
        return ""
    return next(_open(suffixes(), "", tuple(labels[::-1]), varies=False), "")


def is_everybodys(host: str) -> bool:
    """Return whether the host, in which nothing varies, gives everybody a path, or a name below it."""
    known = suffixes()
    parent = host.partition(".")[2]
    # A name of one label is one of somebody's own network.
    is_listed = host in known.rules or (f"*.{parent}" in known.rules and host not in known.exceptions)
    return "." in host and is_listed


@lru_cache(maxsize=1)
def suffixes() -> Suffixes:
    """Return the list, read only where a policy has a pattern of issuers: it is fifteen thousand names."""
    from publicsuffixlist import PSLFILE  # noqa: PLC0415 - as was just said

    rules: set[str] = set(_OURS)
    for line in Path(PSLFILE).read_text(encoding="utf-8").splitlines():
        rule = line.partition(" ")[0].strip().lower()
        if rule and not rule.startswith("//"):
            rules.add(rule if rule.isascii() else _encoded(rule))
    exceptions = {rule[1:] for rule in rules if rule.startswith("!")}
    rules -= {f"!{name}" for name in exceptions}
    below: dict[str, dict[str, None]] = {}
    for rule in sorted(rules):
        ending = ""
        for label in rule.split(".")[::-1]:
            below.setdefault(ending, {})[label] = None
            ending = _join(label, ending)
    return Suffixes(frozenset(rules), frozenset(exceptions), below)


def _encoded(rule: str) -> str:
    """Return a name beyond ASCII as it stands in a URL."""
    mark = "!" if rule.startswith("!") else ""
    return mark + rule.removeprefix("!").encode("idna").decode("ascii")


def _join(label: str, ending: str) -> str:
    return f"{label}.{ending}" if ending else label


def _fits(labels: Sequence[Label], operated: tuple[str, ...]) -> bool:
    return len(labels) == len(operated) and all(
        name == "*" or (is_plain(label) and _text(label) == name) for label, name in zip(labels, operated, strict=True)
    )


def _open(known: Suffixes, ending: str, rest: tuple[Label, ...], *, varies: bool) -> Iterator[str]:
    """Yield the rules that fit the labels so far, where one of these or the next one varies."""
    if ending in known.rules and (varies or (rest and not is_plain(rest[0]))):
        yield ending
    if rest:
        for name in _ways(known, ending, rest[0]):
            yield from _open(known, _join(name, ending), rest[1:], varies=varies or not is_plain(rest[0]))


def _ways(known: Suffixes, ending: str, label: Label) -> list[str]:
    """Return the labels of rules that this one can be, below `ending`."""
    here = known.below.get(ending, {})
    if not is_plain(label):
        return [name for name in here if name == "*" or matches(Parts(label), name)]
    name = _text(label)
    is_excepted = _join(name, ending) in known.exceptions
    return [each for each in (name, "*") if each in here and not (each == "*" and is_excepted)]


def _text(label: Label) -> str:
    return "".join(part.character for part in label if isinstance(part, Literal))
