"""Policies as texts, tokens and requests for the laws of the whole exchange; and an exchange to try them at."""

import json
from asyncio import Runner
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from fakes.issuer import Issuer, key_pair, sign
from fakes.tailscale import FakeTailscale
from tailsts.cli.judging import Policies
from tailsts.credentials import Secret
from tailsts.outcome import Decision, Malformed
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.trusted import TrustedIssuers
from tailsts.server.wire import Answer, answer, bearer_token, exchange_request
from unit.exchanging import Site, exchanging

# Of few values, so that they meet often.
ISSUERS = ("https://i.example", "https://j.example")
SUBJECTS = ("s", "t")
SOURCES = ("keys-0.json", "keys-1.json")
ROGUE = 2
KEYS = Issuer("", "EdDSA")

Keys = Mapping[str, object]
Texts = Mapping[str, Keys]

# What is wrong is rare, so that there is something to be wrong with.
_seldom = st.sampled_from([*[False] * 11, True])

_scopes = st.sampled_from(["dns:read", "users:read", "devices:core", "auth_keys"])
_tags = st.sampled_from(["tag:a", "tag:b"])
# What a policy may say beyond what each has; no two of them contradict each other.
FURTHER: dict[str, st.SearchStrategy[object]] = {
    "subject": st.sampled_from(SUBJECTS),
    "subject_pattern": st.sampled_from(["s|t", "s", "[a-r]"]),
    "audience": st.sampled_from(["a", "b"]) | st.just(["a", "b"]),
    "claims": st.sampled_from(
        [{"ref": "main"}, {"ref": ["main", "dev"]}, {"id": 1}, {"id": "1"}, {"deep": {"x": "y"}}]
    ),
    "claim_patterns": st.sampled_from([{"env": "m.*|dev"}, {"deep": {"z": "[a-z]"}}]),
    "condition": st.sampled_from(
        ["claims.ref == 'main'", "scopes.exists(s, s == 'dns:read')", "size(tags) < 2", "claims.id != 1"]
    ),
    "max_lifetime": st.sampled_from(["10m", "1h"]),
    "max_age": st.sampled_from(["1m", "1h"]),
    "not_after": st.sampled_from(["2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]),
    "single_use": st.just(value=True),
    "rate_limit": st.just("900000/second"),
}
_EXCLUSIVE = {"subject": "subject_pattern", "subject_pattern": "subject"}


@st.composite
def policies(draw: st.DrawFn, sources: tuple[str, ...] = SOURCES) -> Keys:
    """The keys of a policy, which trusts the keys of one of the sources."""
    keys: dict[str, object] = {
        "issuer": draw(st.sampled_from([ISSUERS[0], *ISSUERS])),
        "jwks_file": draw(st.sampled_from(sources)),
        "algorithm": "EdDSA",
        "allowed_scopes": draw(st.lists(_scopes, min_size=2, max_size=4, unique=True)),
        "tailnet": draw(st.sampled_from(["default", "prod"])),
    }
    if draw(st.booleans()):
        keys["allowed_tags"] = draw(st.lists(_tags, min_size=1, max_size=2, unique=True))
    for name in draw(st.lists(st.sampled_from(sorted(FURTHER)), max_size=3, unique=True)):
        if _EXCLUSIVE.get(name) not in keys:
            keys[name] = draw(FURTHER[name])
    return keys


def further(keys: Keys) -> st.SearchStrategy[Keys]:
    """The keys of the same policy, with one more condition in its text."""
    names = [name for name in FURTHER if name not in keys and _EXCLUSIVE.get(name) not in keys]
    return st.sampled_from(names).flatmap(lambda name: FURTHER[name].map(lambda value: {**keys, name: value}))


def folders(sources: tuple[str, ...] = SOURCES) -> st.SearchStrategy[Texts]:
    """Policies by name."""
    return st.dictionaries(st.sampled_from("abcdef"), policies(sources), min_size=1, max_size=6)


def text(keys: Keys) -> str:
    """Return the text of a policy."""
    flat = {name: value for name, value in keys.items() if not isinstance(value, dict)}
    lines = [f"{name} = {value if name == 'not_after' else json.dumps(value)}" for name, value in flat.items()]
    for table in ("claims", "claim_patterns"):
        found = keys.get(table)
        if isinstance(found, dict):
            lines += [f"[{table}]", *_table(found)]
    return "\n".join(lines) + "\n"


def _table(found: Mapping[str, object], within: str = "") -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _table(value, f"{within}{name}.")
        else:
            yield f"{within}{name} = {json.dumps(value)}"


@st.composite
def claims(draw: st.DrawFn, now: int) -> dict[str, object]:
    """Claims that some policy may take, most of them good."""
    said: dict[str, object] = {
        "iss": draw(
            st.sampled_from([*ISSUERS[:1] * 16, *ISSUERS[1:] * 4, "https://k.example", f"{ISSUERS[0]}/", "", 1])
        ),
        "sub": draw(st.sampled_from([*SUBJECTS * 9, "", None])),
        "aud": draw(st.sampled_from([*["a", "b", ["a", "c"]] * 4, [], 1])),
        "iat": now - draw(st.sampled_from([*[0] * 9, 300, -30, -3000])),
        "exp": now + draw(st.sampled_from([*[300] * 9, 3000, 100_000, -30, -3000])),
        "jti": draw(st.uuids()).hex,
    }
    said |= draw(
        st.dictionaries(st.sampled_from(["ref", "id", "env"]), st.sampled_from(["main", "dev", "1", 1]), max_size=2)
    )
    if draw(st.booleans()):
        said["deep"] = {"x": "y", "z": "z"}
    if draw(_seldom):
        del said[draw(st.sampled_from(["exp", "iat", "sub", "iss"]))]
    if draw(_seldom):
        said["SUB"] = "s"
    return said


@st.composite
def tokens(draw: st.DrawFn, now: int, signers: tuple[int, ...] = (0, 0, 0, 1, 1, ROGUE)) -> tuple[str, int]:
    """A token, and the number of the key that signed it. Most name their key as they should."""
    number = draw(st.sampled_from(signers))
    named: int | None = draw(st.sampled_from([number] * 16 + [0, 1, 7, None]))
    header = {"alg": "EdDSA", **({} if named is None else {"kid": KEYS.key_id(named)})}
    return sign(header, json.dumps(draw(claims(now))).encode(), key_pair("EdDSA", number)), number


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """The members of a request: fit or not."""
    wanted: dict[str, Any] = {
        "scopes": draw(st.lists(_scopes, min_size=1, max_size=2)),
        "tags": draw(st.just([]) | st.lists(_tags, max_size=2)),
    }
    if draw(_seldom) or draw(_seldom):
        wanted["policy"] = draw(st.sampled_from([*"abcdef", "none", "", "x" * 256]))
    if draw(_seldom):
        wanted["tags"] = draw(st.sampled_from([["ci"], ["tag:a", ""], ["tag:x"] * 101]))
    if draw(_seldom):
        wanted["scopes"] = draw(st.sampled_from([['dn"s'], ["a b"], ["dns:read"] * 101, []]))
    return wanted


_OURS = frozenset(ISSUERS[:1])
allow_lists: st.SearchStrategy[TrustedIssuers | None] = st.sampled_from(
    [
        None,
        None,
        TrustedIssuers("enforce", _OURS),
        TrustedIssuers("audit", _OURS),
        TrustedIssuers("audit", frozenset(), (compile_pattern(r"https://[jk]\.example"),)),
    ]
)


class Whole:
    """An exchange with all that is before and behind it, from header fields to the answer."""

    def __init__(self, runner: Runner, site: Site, folder: Path) -> None:
        self._runner = runner
        self._site = site
        self._folder = folder

    @property
    def now(self) -> int:
        """The time at which everything is judged."""
        return int(self._site.clock.wall)

    def put_in_force(self, found: Texts, trusted: TrustedIssuers | None = None) -> Policies:
        """Let these policies hold, and return them as a command has them that judges them."""
        self._runner.run(self._put_in_force({name: text(keys) for name, keys in found.items()}, trusted))
        return Policies(self._site.exchange.in_force.generation, trusted)

    async def _put_in_force(self, texts: Mapping[str, str], trusted: TrustedIssuers | None) -> None:
        self._site.options = msgspec.structs.replace(self._site.options, trusted=trusted)
        self._site.put_in_force(self._folder, texts)
        await self._site.wait_for_keys()

    def ask(self, token: str, wanted: Mapping[str, object]) -> tuple[Answer, dict[str, Any]]:
        """Return the answer to a request, and its event."""
        body = json.dumps(wanted).encode()
        bearer = bearer_token([f"Bearer {token}"], "application/json", str(len(body)))
        request = exchange_request(bearer, body) if isinstance(bearer, Secret) else bearer
        decision: Decision = self._runner.run(self._site.decide(request))
        assert isinstance(request, Malformed) == (self._site.events[-1]["outcome"] == "malformed")
        return answer(decision), self._site.events[-1]


@contextmanager
def whole(folder: Path) -> Iterator[Whole]:
    """Yield a whole exchange, whose policies lie in `folder` beside the keys of each source."""
    for number, source in enumerate(SOURCES):
        (folder / source).write_text(json.dumps(Issuer("", "EdDSA", [number]).jwks()))
    (folder / "both.json").write_text(json.dumps(Issuer("", "EdDSA", [0, 1]).jwks()))
    with FakeTailscale() as tailscale, FakeTailscale() as prod, Runner() as runner:
        first = {"a": text({"issuer": ISSUERS[0], "jwks_file": SOURCES[0], "allowed_scopes": ["dns:read"]})}
        around = exchanging(folder, first, tailscale, prod=prod)
        site = runner.run(around.__aenter__())
        try:
            yield Whole(runner, site, folder)
        finally:
            runner.run(around.__aexit__(None, None, None))
