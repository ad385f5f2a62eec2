"""The fixtures: complete, of the types that the issuers write, and good tokens once they are signed."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from importlib.resources import files

import pytest

from fakes.issuer import Issuer
from tailsts.fixtures import Fixture, UnknownFixtureError, at, fixture, names
from tailsts.oidc.keys import normalise
from tailsts.oidc.token import MAX_TOKEN_LENGTH, UnverifiedToken, decode
from tailsts.oidc.verify import VerifiedToken, verify
from tailsts.policy.issuers import refuse_issuer

NOW = 1_800_000_000
AUDIENCE = "https://sts.example.com"
ALL = (
    "aws",
    "bitbucket",
    "buildkite",
    "circleci",
    "circleci-root",
    "eks",
    "entra-v1",
    "entra-v2",
    "fly",
    "github",
    "github-environment",
    "github-immutable",
    "github-pull-request",
    "gitlab",
    "gitlab-merge-request",
    "google",
    "google-compute",
    "google-without-email",
    "hcp-terraform",
    "kubernetes",
    "spiffe",
)
WITH_AUDIENCE_LIST = {"bitbucket", "eks", "kubernetes", "spiffe"}
# From iat to nbf (None: without nbf) and to exp, as the issuers document or show it.
DISTANCES = {
    "aws": (None, 900),
    "bitbucket": (None, 3600),
    "buildkite": (0, 300),
    "circleci": (None, 3600),
    "circleci-root": (None, 3600),
    "eks": (0, 3600),
    "entra-v1": (0, 86700),
    "entra-v2": (0, 3900),
    "fly": (0, 600),
    "github": (-600, 300),
    "github-environment": (-600, 300),
    "github-immutable": (-600, 300),
    "github-pull-request": (-600, 300),
    "gitlab": (-5, 3600),
    "gitlab-merge-request": (-5, 3600),
    "google": (None, 3600),
    "google-compute": (None, 3600),
    "google-without-email": (None, 3600),
    "hcp-terraform": (-5, 300),
    "kubernetes": (0, 3607),
    "spiffe": (None, 300),
}


def distances(claims: Mapping[str, object]) -> tuple[int | None, int]:
    """Return how far nbf and exp are from iat."""
    made, start, end = claims["iat"], claims.get("nbf"), claims["exp"]
    assert type(made) is int
    assert type(end) is int
    assert start is None or type(start) is int
    return None if start is None else start - made, end - made


def strings(value: object) -> Iterator[str]:
    """Yield every string in a JSON value, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings(item)


def test_all_are_there() -> None:
    """Every shape that is promised is there, and no file is left over."""
    assert names() == ALL
    packaged = {file.name for file in files("tailsts.fixtures").iterdir()} - {"__init__.py", "__pycache__"}
    assert {f"{name}.json" for name in ALL} == packaged


@pytest.mark.parametrize("name", ALL)
def test_each_says_what_it_is(name: str) -> None:
    """Each has its own name, its issuer's, and one sentence that fits into a line of a list."""
    made = fixture(name)
    assert isinstance(made, Fixture)
    assert name == made.name
    assert made.issuer
    assert re.fullmatch(r"[A-Z][^\n]{10,95}\.", made.description)


@pytest.mark.parametrize("name", ALL)
def test_registered_claims(name: str) -> None:
    """The registered claims have the types and the distances in time that the issuer gives them."""
    claims = fixture(name).claims
    issuer, subject = claims["iss"], claims["sub"]
    assert isinstance(issuer, str)
    assert refuse_issuer(issuer) is None
    assert isinstance(subject, str)
    assert subject
    assert claims["aud"] == ([AUDIENCE] if name in WITH_AUDIENCE_LIST else AUDIENCE)
    assert DISTANCES[name] == distances(claims)


@pytest.mark.parametrize("name", ALL)
def test_each_is_a_good_token_once_it_is_signed(name: str) -> None:
    """Signed with a real key, each passes the front decoder and verification unchanged, and fits into a header."""
    claims = at(fixture(name).claims, NOW)
    issuer = Issuer(str(claims["iss"]))
    text = issuer.token_over(json.dumps(claims).encode())
    assert len(text) < MAX_TOKEN_LENGTH
    token = decode(text)
    assert isinstance(token, UnverifiedToken), token
    keys = normalise(json.dumps(issuer.jwks()).encode())
    verified = verify(token, keys, frozenset({"RS256"}), NOW)
    assert isinstance(verified, VerifiedToken), verified
    assert claims == verified.claims
    assert (claims["sub"], (AUDIENCE,)) == (verified.subject, verified.audiences)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_left_to_fill_in(name: str) -> None:
    """All is ASCII, nothing stands for something else, and what begins like a UUID is one."""
    text = files("tailsts.fixtures").joinpath(f"{name}.json").read_text("utf-8")
    assert text.isascii()
    for string in strings(json.loads(text)):
        # No issuer writes these; a JWT would be a token that somebody was given.
        assert not re.search(r"\.\.\.|[<>]|TODO|xxx|0000-0000|eyJ", string), string
        for found in re.findall(r"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f-]*", string):
            assert found == str(uuid.UUID(found))
            assert uuid.UUID(found).variant == uuid.RFC_4122


def test_no_two_are_the_same_token() -> None:
    """Token ids are not shared, since a token has one of its own."""
    ids = [found for name in ALL if (found := fixture(name).claims.get("jti"))]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["github", "github-environment", "github-immutable", "github-pull-request"])
def test_github_writes_strings(name: str) -> None:
    """Everything but the times is a string, also ids and truth values."""
    claims = fixture(name).claims
    assert {"iat", "nbf", "exp"} == {key for key, value in claims.items() if not isinstance(value, str)}
    assert claims["ref_protected"] in {"true", "false"}


def test_github_subjects() -> None:
    """The forms of the subject; the environment is a claim only where there is one."""
    forms = {name: fixture(name).claims for name in ALL if name.startswith("github")}
    assert {name: claims["sub"] for name, claims in forms.items()} == {
        "github": "repo:octo-org/octo-repo:ref:refs/heads/main",
        "github-environment": "repo:octo-org/octo-repo:environment:prod",
        "github-immutable": "repo:octo-org@123456/octo-repo@456789:ref:refs/heads/main",
        "github-pull-request": "repo:octo-org/octo-repo:pull_request",
    }
    assert [name for name, claims in forms.items() if "environment" in claims] == ["github-environment"]


def test_a_fork_at_gitlab() -> None:
    """A merge request from a fork carries the fork's project and subject; only the job's say where it runs."""
    push, fork = fixture("gitlab").claims, fixture("gitlab-merge-request").claims
    for claim in ("project_id", "project_path", "namespace_id", "namespace_path", "sub"):
        assert push[claim] != fork[claim]
    for claim in ("job_project_id", "job_project_path", "job_namespace_id", "job_namespace_path"):
        assert push[claim] == fork[claim]


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("gitlab", ["ref_protected"], "true"),
        ("gitlab", ["runner_id"], 1),
        ("gitlab-merge-request", ["ci_config_sha"], None),
        ("buildkite", ["build_number"], 1),
        ("circleci", ["oidc.circleci.com/ssh-rerun"], False),
        ("google", ["email_verified"], True),
        ("google-compute", ["google", "compute_engine", "project_number"], 1071284184436),
        ("google-compute", ["google", "compute_engine", "instance_id"], "4570452845155348778"),
        ("aws", ["https://sts.amazonaws.com/", "principal_tags", "team"], "data"),
        ("eks", ["kubernetes.io", "namespace"], "ci"),
        ("kubernetes", ["kubernetes.io", "serviceaccount", "name"], "deployer"),
        ("entra-v2", ["roles"], ["Tokens.Mint"]),
    ],
)
def test_types_are_the_issuers(name: str, path: list[str], expected: object) -> None:
    """Truth values, numbers, null and nested claims are what the issuer makes them."""
    value: object = fixture(name).claims
    for step in path:
        assert isinstance(value, dict)
        value = value[step]
    assert (type(expected), expected) == (type(value), value)


@pytest.mark.parametrize(
    "name", ["", "../github", "github.json", "__init__", "GITHUB", pytest.param("x" * 100_000, id="long")]
)
def test_unknown_name(name: str) -> None:
    """Only the names of fixtures are read; anything else is a fault that knows what was asked for."""
    with pytest.raises(UnknownFixtureError) as raised:
        fixture(name)
    assert name == raised.value.name


def test_unknown_name_with_a_neighbour() -> None:
    """What is nearly a name is answered with that name, and what is nothing like one is not."""
    with pytest.raises(UnknownFixtureError, match=r"^no fixture is called 'githb', perhaps github is meant$") as raised:
        fixture("githb")
    assert raised.value.nearest == "github"
    with pytest.raises(UnknownFixtureError, match=r"^no fixture is called '999'$") as raised:
        fixture("999")
    assert raised.value.nearest is None


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("now", [0, NOW])
def test_at_moves_the_times_together(name: str, now: int) -> None:
    """The token is made at `now`, its other times keep their distance, and all else is as it was."""
    claims = fixture(name).claims
    moved = at(claims, now)
    assert now == moved["iat"]
    assert DISTANCES[name] == distances(moved)
    assert {**claims, "iat": 0, "nbf": 0, "exp": 0} == {**moved, "iat": 0, "nbf": 0, "exp": 0}
    assert fixture(name).claims == claims


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, {"iat": NOW, "exp": NOW + 300}),
        ({"exp": 5}, {"iat": NOW, "exp": 5}),
        ({"nbf": 7}, {"iat": NOW, "nbf": 7, "exp": NOW + 300}),
        ({"iat": 10}, {"iat": NOW, "exp": NOW + 300}),
        ({"iat": 10.5, "exp": 20}, {"iat": NOW, "exp": NOW + 9.5}),
        ({"iat": 10, "exp": "20", "nbf": True}, {"iat": NOW, "exp": "20", "nbf": True}),
        ({"iat": "10", "exp": 20}, {"iat": "10", "exp": 20}),
        ({"iat": None, "exp": None}, {"iat": None, "exp": None}),
    ],
)
def test_at_with_other_times(claims: dict[str, object], expected: dict[str, object]) -> None:
    """What is missing is filled in, what is there and cannot be moved stays."""
    assert expected == at(claims, NOW)
