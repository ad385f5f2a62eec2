"""What is known of issuers, against the claims of a token of each."""

from collections.abc import Iterator, Mapping

import pytest

from tailsts.fixtures import fixture, names
from tailsts.policy.claims import MISSING, Path, kind
from tailsts.policy.draft import Draft
from tailsts.policy.issuers import SHARED
from tailsts.policy.judging.example import MAX_EXAMPLES, example, examples
from tailsts.policy.judging.known import PROVIDERS, provider_of_issuer
from tailsts.policy.judging.providers import Provider, nested
from tailsts.policy.judging.supposed import asked_of
from tailsts.policy.patterns.pattern import compile_pattern

# Its issuers can have any name, and its tokens hold little beyond a subject.
KNOWN = [name for name in names() if name != "spiffe"]
REGISTERED = {"aud", "exp", "iat", "iss", "nbf", "sub"}


def flat(claims: Mapping[str, object], within: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield each claim that is no object by its path."""
    for name, value in claims.items():
        if isinstance(value, dict):
            yield from flat(value, (*within, name))
        else:
            yield (*within, name), value


@pytest.mark.parametrize("name", KNOWN)
def test_claims(name: str) -> None:
    """Each claim of a token of a known issuer is known, by its name and type."""
    claims = fixture(name).claims
    provider = provider_of_issuer(str(claims["iss"]))
    assert provider is not None
    for path, value in flat(claims):
        # GitLab's may be null.
        if value is not None and path[0] not in REGISTERED and not provider.is_custom(path):
            assert kind(provider.known(path)) == kind(value), path


@pytest.mark.parametrize("name", KNOWN)
def test_subjects(name: str) -> None:
    """The subject of such a token has the usual form, its parts are what the claims say, and it is made of them."""
    claims = fixture(name).claims
    provider = provider_of_issuer(str(claims["iss"]))
    assert provider is not None
    subject = str(claims["sub"])
    parts = provider.parts_of(subject)
    values = dict(flat(claims))
    assert provider.subject.fullmatch(subject)
    for part, path in provider.named.items():
        assert parts.get(part, values.get(path)) == values.get(path), part
    if "repo" in provider.parts:
        parts["repo"] = str(values["repository",]).partition("/")[2]
    assert subject in provider.subjects(values, parts)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.samples[0])
def test_a_stranger(provider: Provider) -> None:
    """Each has a stranger's token that is whole, from an issuer of its own."""
    assert all(map(provider.issuers.fullmatch, provider.samples))
    assert provider.subjects(provider.claims, {})
    known = {*provider.claims, *provider.optional}
    assert {*provider.named.values(), *provider.chosen, *provider.weak, *provider.ids} <= known
    assert not {*provider.ids} & {*provider.chosen}


def test_shared_issuers_are_known() -> None:
    """What is said of strangers can be said wherever strangers are served."""
    assert {issuer for issuer in SHARED if provider_of_issuer(issuer) is None} == set()


def test_an_unknown_issuer() -> None:
    """Of others nothing is known."""
    assert provider_of_issuer("https://issuer.example.com") is None
    assert PROVIDERS[0].known(("nonsense",)) is MISSING


def test_nothing_is_supposed_of_unknown_issuers() -> None:
    """Where it is not known who strangers are, none is made up."""
    asked = asked_of(Draft(name="p", issuer="https://issuer.example.com"))
    assert asked.takes({})
    assert not asked.takes({"sub": ""})
    assert not asked.takes_stranger()
    assert not asked.takes_namesake()


def test_nested() -> None:
    """Claims by path become claims as tokens have them; what is deeper replaces what is in its way."""
    assert nested({("a",): 1, ("b", "c"): 2, ("b", "d"): 3}) == {"a": 1, "b": {"c": 2, "d": 3}}
    assert nested({("b",): 1, ("b", "c"): 2}) == {"b": {"c": 2}}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("abc", "abc"),
        ("a[0-9]{3}b?", "a000b"),
        ("(x|y)+z", "xz"),
        ("repo:.*", "repo:z/z"),
        ("[^/]+", "z"),
        ("[!-%]", "!"),
        ("a{0}b", "b"),
        ("[^\\x00-\\x{10FFFF}]", None),
        ("a[^\\x00-\\x{10FFFF}]", None),
        ("[^\\x00-\\x{10FFFF}]|b", "b"),
        ("([^\\x00-\\x{10FFFF}])+", None),
        ("[^\\x00-\\x{10FFFF}]|[^\\x00-\\x{10FFFF}]", None),
        ("\\bx", None),
        ("(ab){500}", None),
        ("[ab]{1000,}", None),
    ],
)
def test_example(pattern: str, expected: str | None) -> None:
    """A value that a pattern matches is found where it can be read, and is short."""
    assert example(compile_pattern(pattern)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("push|pull_request", ("push", "pull_request")),
        ("repo:(a|b):(ref:.*|pull_request)", ("repo:a:ref:z/z", "repo:b:ref:z/z", "repo:a:pull_request")),
        ("main(-evil)?", ("main-evil", "main")),
        ("(a|b){2}", ("aa", "bb")),
        ("\\bx", ()),
    ],
)
def test_examples(pattern: str, expected: tuple[str, ...]) -> None:
    """Each branch of a pattern has an example, and what is optional is there in one and not in another."""
    assert examples(compile_pattern(pattern)) == expected


def test_examples_are_few() -> None:
    """However many branches there are, so many examples are enough."""
    many = compile_pattern("|".join(f"x{number}" for number in range(40)))
    assert len(examples(many)) == MAX_EXAMPLES


def test_subjects_with_a_colon() -> None:
    """GitHub writes a colon within the name of an environment as %3A; the claim has it as it is."""
    provider = PROVIDERS[0]
    subject = "repo:a/b:environment:prod%3Aeu"
    parts = provider.parts_of(subject)
    assert parts == {"repository": "a/b", "environment": "prod:eu"}
    assert subject in provider.subjects({("environment",): "prod:eu"}, parts)
