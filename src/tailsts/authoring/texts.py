"""From what pins a token to the text of its policy, and of the tests that go with it. Pure."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tailsts.authoring.audience import Audience, choose
from tailsts.authoring.sketch import AUDIENCE, Claims, Neighbour, Service, Sketch
from tailsts.policy.claims import MISSING, Path, lookup
from tailsts.policy.draft import Draft
from tailsts.policy.dump import Leaf, dump, remark_lines, table_lines, value_text
from tailsts.policy.model import DEFAULT_MAX_LIFETIME
from tailsts.policy.reader import MAX_DURATION
from tailsts.scopes import NEED_TAGS

_HOUR = 3600
_MAX_DESCRIPTION = 200
_USUAL_ALGORITHM = "RS256"


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What the token does not say: rights, and where the keys are. None: what is usual. `schema` is for editors."""

    scopes: Sequence[str]
    tags: Sequence[str] = ()
    audience: str | None = None
    name: str | None = None
    algorithm: str | None = None
    jwks_url: str | None = None
    jwks_file: str | None = None
    ca_file: str | None = None
    schema: str = ""


class Written(msgspec.Struct, frozen=True):
    """A policy and its tests as texts, and what whoever asked for them should know."""

    name: str
    policy: str
    tests: str
    warnings: Sequence[str]


def refuse(choices: Choices) -> list[str]:
    """Return what is missing among the choices."""
    faults = [] if choices.scopes else ["no scope is named that may be asked for: --scope"]
    needing = sorted(NEED_TAGS.intersection(choices.scopes))
    if needing and not choices.tags:
        faults.append(f"{needing[0]} goes with tags; without any, tokens get every tag of the OAuth client: --tag")
    return faults


def write(service: Service, claims: Claims, choices: Choices) -> Written:
    """Return the policy that pins a token of the service, with tests that allow it and deny its neighbours."""
    sketch = service.sketch(claims)
    audience = choose(service, claims, choices.audience)
    name = choices.name or sketch.name
    draft = _draft(name, sketch, claims, audience, choices)
    first = [f"#:schema {choices.schema}"] if choices.schema else []
    about = f"Made by `tailsts new` for a token of {service.title}. All that is named here must hold."
    policy = "\n".join([*first, *remark_lines([about]), "", dump(draft, _remarks(sketch, audience, draft))])
    warnings = [warning for warning in (audience.warning, *sketch.warnings) if warning]
    return Written(name, policy, _tests(draft, sketch, claims, audience), warnings)


def _draft(name: str, sketch: Sketch, claims: Claims, audience: Audience, choices: Choices) -> Draft:
    issuer, subject = claims.get("iss"), claims.get("sub")
    return Draft(
        name=name,
        description=_plain(sketch.who),
        issuer=issuer if isinstance(issuer, str) else "",
        subject=subject if sketch.subject is not None and isinstance(subject, str) else None,
        audiences=frozenset({audience.wanted}),
        claims=tuple((pin.path, (pin.value,)) for pin in sketch.pins),
        allowed_scopes=frozenset(choices.scopes),
        allowed_tags=frozenset(choices.tags),
        max_lifetime=DEFAULT_MAX_LIFETIME if audience.asked else _max_lifetime(claims),
        algorithms=frozenset({choices.algorithm or _USUAL_ALGORITHM}),
        jwks_url=choices.jwks_url,
        jwks_file=choices.jwks_file,
        ca_file=choices.ca_file,
    )


def _plain(text: str) -> str:
    shown = "".join(character for character in text if character.isprintable())
    return " ".join(shown.split())[:_MAX_DESCRIPTION].strip()


def _max_lifetime(claims: Claims) -> int:
    """Return what is usual, or whole hours if the token lives longer than that."""
    made, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(made, int | float) or not isinstance(ends, int | float) or ends - made <= DEFAULT_MAX_LIFETIME:
        return DEFAULT_MAX_LIFETIME
    hours = -int(-(ends - made) // _HOUR)
    return min(hours * _HOUR, MAX_DURATION)


def _remarks(sketch: Sketch, audience: Audience, draft: Draft) -> Mapping[Path, Sequence[str]]:
    remarks = {
        ("issuer",): "Byte for byte as the token has it.",
        ("audience",): audience.why,
        ("subject",): sketch.subject or "",
        ("claims",): sketch.without_subject,
        ("allowed_scopes",): "What may be asked for, at most: see tailscale.com/kb/1623.",
        ("allowed_tags",): "The tags that may be asked for. Scopes that need some get these.",
        (
            "max_lifetime",
        ): f"The token lives longer than a day: {draft.max_lifetime // _HOUR} hours. Ask for shorter ones.",
        ("algorithm",): "What the token is signed with.",
        **{("claims", *pin.path): pin.why for pin in sketch.pins},
    }
    return {path: (remark,) for path, remark in remarks.items() if remark}


def _tests(draft: Draft, sketch: Sketch, claims: Claims, audience: Audience) -> str:
    meant = _meant(sketch, claims, audience)
    about = f"Tests of {draft.name}.toml, for `tailsts test`. The claims are those that matter; iat and exp are added."
    lines = [*remark_lines([about]), "", *_test(draft, f"allowed: {draft.description or draft.name}", meant, None)]
    elsewhere = Neighbour("the token for another service", {("aud",): audience.unwanted}, AUDIENCE)
    for neighbour in (*sketch.neighbours, elsewhere):
        changed = meant
        for path, value in neighbour.changes.items():
            changed = _with(changed, path, value)
        lines += ["", *_test(draft, f"denied: {neighbour.name}", changed, neighbour.reason)]
    return "\n".join(lines) + "\n"


def _meant(sketch: Sketch, claims: Claims, audience: Audience) -> Claims:
    """Return the claims of the token that matter, nested ones last; for the audience that it is to have."""
    paths = {("iss",), ("sub",), *(pin.path for pin in sketch.pins)}
    paths |= {path for neighbour in sketch.neighbours for path in neighbour.changes}
    found: Claims = {}
    for path in sorted(paths, key=lambda path: (len(path), path != ("iss",), path)):
        value = lookup(claims, path)
        if value is not MISSING:
            found = _with(found, path, value)
    return {"aud": audience.wanted if audience.asked else claims.get("aud"), **found}


def _with(claims: Claims, path: Path, value: object) -> Claims:
    name, *rest = path
    if not rest:
        return {**claims, name: value}
    inner = claims.get(name)
    return {**claims, name: _with(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)}


def _test(draft: Draft, name: str, claims: Claims, reason: str | None) -> Iterator[str]:
    members: dict[str, str | list[str] | None] = {
        "name": name,
        "request_policy": draft.name,
        "scopes": sorted(draft.allowed_scopes),
        "algorithm": next(iter(draft.algorithms - {_USUAL_ALGORITHM}), None),
        "expect": "allow" if reason is None else "deny",
        "reason": reason,
    }
    yield "[[test]]"
    yield from (f"{key} = {value_text(value)}" for key, value in members.items() if value is not None)
    yield from table_lines(("test", "claims"), list(_leaves(claims)))


def _leaves(members: Claims, within: Path = ()) -> Iterator[Leaf]:
    """Yield what is in nested tables by its path, without what TOML cannot hold."""
    for name, value in members.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*within, name))
        elif isinstance(value, list):
            yield (*within, name), [item for item in value if isinstance(item, str)]
        elif isinstance(value, str | bool | int | float):
            yield (*within, name), value
