"""Laws of a policy's text: what is dumped is read back as it was, and the document's types agree with the reader."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from tailsts.oidc.token import ALGORITHMS
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.claims import Path, exactly
from tailsts.policy.document import convert
from tailsts.policy.draft import Draft
from tailsts.policy.dump import dump
from tailsts.policy.finding import Page
from tailsts.policy.parse import parse
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.rate import Rate

_any_text = st.text(st.characters(codec="utf-8"), max_size=12)
_texts = _any_text.map(str.strip).filter(bool)
_issuers = st.sampled_from(["https://issuer.example.com", "https://id.example.org:8443/a/b/", "http://localhost:8888"])
_issuer_patterns = st.sampled_from([r"https://[a-z0-9-]+\.example\.com", r"https://id\.example\.org/[a-z]+"])
_patterns = st.sampled_from(["a|b", r"repo:acme/[^:/]+:ref:refs/heads/main", '"', "\u00e9+", "x\ty"]).map(
    compile_pattern
)
_conditions = st.sampled_from(
    ["claims.a == 'b'", 'size(scopes) < 3 &&\n  "x.y" in claims', "now < timestamp('2030-01-01T00:00:00Z')"]
).map(compile_expression)
_scopes = st.sampled_from(["dns", "devices:core:read", "all", "a!b~c"])
_tags = st.sampled_from(["tag:ci", "tag:a-B-9"])
_durations = st.integers(1, 366 * 24 * 3600)
_offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_moments = st.datetimes(timezones=_offsets).map(datetime.timestamp)

_names = (
    st.sampled_from(["ref", "a.b", "kubernetes.io", "https://sts.amazonaws.com/", "", '"', "'", "\u00e9", "\x7f"])
    | _any_text
)
_scalars = (
    _any_text | st.booleans() | st.integers(1 - 10**19, 10**19 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
_exact = st.lists(_scalars, min_size=1, max_size=3).map(
    lambda values: tuple({exactly(value): value for value in values}.values())
)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    inner = st.recursive(leaves, lambda deeper: st.dictionaries(_names, deeper, min_size=1, max_size=3), max_leaves=5)
    return st.dictionaries(_names.filter(_may_be_a_claim), inner, max_size=4)


def _may_be_a_claim(name: str) -> bool:
    return name not in {"iss", "sub", "aud", "exp", "iat", "nbf"}


def _flat(table: Mapping[str, Any], within: Path = ()) -> list[tuple[Path, Any]]:
    """Return what is in nested tables by its path, in order: an order that a file can have, by dotted keys."""
    found: list[tuple[Path, Any]] = []
    for name, value in table.items():
        place = (*within, name)
        found += _flat(value, place) if isinstance(value, dict) else [(place, value)]
    return found


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Any draft that a file can be read as."""
    by_pattern = draw(st.booleans())
    subject = draw(st.none() | _texts)
    subject_pattern = None if subject is not None else draw(st.none() | _patterns)
    audiences = draw(st.frozensets(_texts, max_size=3))
    claims = [entry for entry in _flat(draw(_nested(_exact))) if len(entry[0]) <= 8]
    taken = {path for path, _ in claims}
    patterns = [entry for entry in _flat(draw(_nested(_patterns))) if len(entry[0]) <= 8 and entry[0] not in taken]
    start, end = sorted(draw(st.lists(_moments, min_size=2, max_size=2, unique=True)))
    jwks_url = None if by_pattern else draw(st.none() | st.sampled_from(["https://keys.example.com/jwks?a=%22"]))
    jwks_file = None if by_pattern or jwks_url else draw(st.none() | _texts)
    return Draft(
        name="p",
        issuer="" if by_pattern else draw(_issuers),
        issuer_pattern=compile_pattern(draw(_issuer_patterns)) if by_pattern else None,
        algorithms=draw(st.frozensets(st.sampled_from(sorted(ALGORITHMS)), min_size=1, max_size=3)),
        subject=subject,
        subject_pattern=subject_pattern,
        any_subject=subject is None and subject_pattern is None and draw(st.booleans()),
        audiences=audiences,
        audience_pattern=None if audiences else draw(st.none() | _patterns),
        claims=tuple(claims),
        claim_patterns=tuple(patterns),
        condition=draw(st.none() | _conditions),
        opa_url=draw(st.sampled_from([None, "http://127.0.0.1:8181/v1/data/a/b"])),
        allowed_scopes=draw(st.frozensets(_scopes, min_size=1)),
        allowed_tags=draw(st.frozensets(_tags)),
        tailnet=draw(st.just("default") | _texts),
        max_lifetime=draw(st.just(24 * 3600) | _durations),
        max_age=draw(st.none() | _durations),
        single_use=draw(st.booleans()),
        rate_limit=draw(st.none() | st.builds(Rate, st.integers(1, 999_999), st.sampled_from([1, 60, 3600, 86400]))),
        not_before=draw(st.sampled_from([None, start])),
        not_after=draw(st.sampled_from([None, end])),
        description=draw(st.just("") | _texts),
        jwks_url=jwks_url,
        jwks_file=jwks_file,
        ca_file=None if jwks_file else draw(st.none() | _texts),
        allow_http=not by_pattern and draw(st.booleans()),
    )


@given(drafts(), st.data())
def test_what_is_dumped_is_read_back(draft: Draft, data: st.DataObject) -> None:
    """parse(dump(draft)) is the draft, order of claims, types of values and all; whatever the remarks hold."""
    paths: list[Path] = [("issuer",), ("claims",), *(("claims", *path) for path, _ in draft.claims)]
    remarks = data.draw(
        st.dictionaries(st.sampled_from(paths), st.lists(st.text(max_size=300), max_size=2), max_size=3)
    )
    page = Page("p.toml", dump(draft, remarks))
    read = parse("p", page)
    assert page.findings == []
    assert read is not None
    assert draft == read
    # As text as well: Python holds 1, 1.0 and True to be equal.
    assert repr(draft.claims) == repr(read.claims)


@given(drafts())
def test_a_dumped_policy_has_nothing_hidden(draft: Draft) -> None:
    """Beside its line ends, a policy's text has no character that nobody can see, or that steers a terminal."""
    assert all(line.isprintable() for line in dump(draft).split("\n"))


@given(drafts())
def test_what_is_read_is_a_document(draft: Draft) -> None:
    """Every policy that parse accepts has the form that the document's types, and so the schema, say."""
    convert(tomllib.loads(dump(draft)))


_wrong = (
    st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just("x")
    | st.datetimes(timezones=_offsets)
    | st.dates()
    | st.lists(st.booleans() | st.just("x") | st.lists(st.just(1)), max_size=2)
    | st.dictionaries(st.sampled_from(["url", "x"]), st.just("x") | st.booleans() | st.lists(st.dates()), max_size=2)
)
_keys = st.sampled_from(
    [
        *("description", "issuer", "issuer_pattern", "subject", "subject_pattern", "any_subject", "audience"),
        *("audience_pattern", "claims", "claim_patterns", "condition", "opa", "max_lifetime", "max_age"),
        *("single_use", "rate_limit"),
        *("not_before", "not_after", "allowed_scopes", "allowed_tags", "tailnet", "algorithm"),
        *("jwks_url", "jwks_file", "ca_file", "allow_http", "subjet"),
    ]
)


@given(st.dictionaries(_keys, _wrong, max_size=3))
def test_a_wrong_type_is_wrong_for_both(changes: dict[str, object]) -> None:
    """What parse calls a wrong type, or an unknown key, the document's types refuse; what it takes, they take."""
    table = {"issuer": "https://issuer.example.com", "subject": "s", "allowed_scopes": ["dns"], **changes}
    page = Page("p.toml", tomli_w.dumps(table))
    parse("p", page)
    codes = {finding.code for finding in page.findings}
    refused = False
    try:
        convert(tomllib.loads(page.text))
    except msgspec.ValidationError:
        refused = True
    if codes & {"type", "unknown-key", "missing"}:
        assert refused
    elif not codes:
        assert not refused
