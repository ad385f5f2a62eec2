"""Policies that lie beside each other, and policies whose time is over."""

from typing import Any

import pytest

from fakes.judging import NOW, policy
from tailsts.oidc.source import Discovery, JwksUrl
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.claims import Path, Scalar
from tailsts.policy.condition import OpaAllows
from tailsts.policy.finding import Page
from tailsts.policy.judging.together import MAX_COMPARED, judge_together
from tailsts.policy.model import Policy, assemble
from tailsts.policy.patterns.pattern import compile_pattern

SUBJECT: dict[str, Any] = {"subject": "acme"}
CLAIMS: tuple[tuple[Path, tuple[Scalar, ...]], ...] = ((("id",), (1, 2)), (("ref",), ("main",)))


def found(*policies: Policy, now: float = NOW) -> list[tuple[str, str, str]]:
    """Return code, file and message of what is said of these policies together."""
    pages = {policy.name: Page(f"{policy.name}.toml", "not_after = 1") for policy in policies}
    judge_together(assemble(policies[::-1], "d"), pages, now)
    return [(one.code, one.file, one.message) for page in pages.values() for one in page.findings]


def covered(narrow: dict[str, Any], wide: dict[str, Any]) -> bool:
    """Return whether the policy with the fields `narrow` is covered by the one with `wide`, whatever their names."""
    one = {file for _, file, _ in found(policy("a", **narrow), policy("b", **wide))}
    other = {file for _, file, _ in found(policy("b", **narrow), policy("a", **wide))}
    assert ("a.toml" in one) == ("b.toml" in other)
    return "a.toml" in one


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ({}, {"allowed_scopes": frozenset({"x", "y", "z"})}),
        ({}, {"subject": None, "subject_pattern": compile_pattern("s|t")}),
        ({}, {"subject": None}),
        ({}, {"audiences": frozenset({"a", "b"})}),
        ({}, {"audiences": frozenset(), "audience_pattern": compile_pattern("a|b")}),
        ({}, {"audiences": frozenset()}),
        ({}, {"algorithms": frozenset({"RS256", "ES256"})}),
        ({}, {"allowed_tags": frozenset({"tag:a"})}),
        ({"allowed_tags": frozenset({"tag:a"})}, {"allowed_tags": frozenset({"tag:a", "tag:b"})}),
        ({"max_lifetime": 60}, {}),
        ({"max_age": 60}, {"max_age": 90}),
        ({"max_age": 60}, {}),
        ({"not_after": NOW + 9}, {}),
        ({"not_before": NOW, "not_after": NOW + 9}, {"not_before": NOW - 1, "not_after": NOW + 10}),
        ({"claims": CLAIMS}, {}),
        ({"claims": CLAIMS}, {"claims": CLAIMS[1:]}),
        ({"claims": CLAIMS}, {"claims": ((("id",), (1, 2, 3)),)}),
        ({"claims": CLAIMS}, {"claim_patterns": ((("ref",), compile_pattern("main|x")),)}),
        ({"claims": CLAIMS, "subject": None}, {"subject": None, "claims": CLAIMS[1:]}),
        ({"condition": compile_expression("now > timestamp(0)")}, {}),
        ({"opa_url": "http://127.0.0.1/"}, {}),
        # In whatever order the values stand.
        ({"claims": ((("id",), (2,)),)}, {"claims": ((("id",), (1, 2)),)}),
        ({"claims": ((("id",), (1,)),)}, {"claims": ((("id",), (2, 1)),)}),
        ({"claims": ((("id",), (3, 2)),)}, {"claims": ((("id",), (1, 2, 3)),)}),
        (
            {"subject": None, "claims": ((("id",), (2,)),)},
            {"subject": None, "claims": ((("id",), (1, 2)),)},
        ),
        # A pattern that goes on with anything, from where the other one does.
        (
            {"subject": None, "subject_pattern": compile_pattern("acme/(a|b)")},
            {"subject": None, "subject_pattern": compile_pattern("acme/.*")},
        ),
        (
            {"claim_patterns": ((("ref",), compile_pattern("v[0-9]+")),)},
            {"claim_patterns": ((("ref",), compile_pattern("v[0-9.]+")),)},
        ),
        (
            {"audiences": frozenset(), "audience_pattern": compile_pattern("https://a/.*")},
            {"audiences": frozenset(), "audience_pattern": compile_pattern("https://.*")},
        ),
        # A bound is a condition as well.
        ({"single_use": True}, {}),
        ({"single_use": True, "max_age": 60}, {"single_use": True}),
    ],
)
def test_covered(narrow: dict[str, Any], wide: dict[str, Any]) -> None:
    """A policy whose every request another one allows as well is covered by it, and not the other way round."""
    assert covered(narrow, wide)
    assert not covered(wide, narrow)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"subject": "t"}),
        ({}, {"issuer": "https://j"}),
        ({"tailnet": "a"}, {"tailnet": "b"}),
        ({"opa_url": "http://127.0.0.1/"}, {"opa_url": "http://127.0.0.1/x"}),
        ({"claims": ((("id",), (1,)),)}, {"claims": ((("id",), ("1",)),)}),
        ({"claims": ((("id",), (1,)),)}, {"claims": ((("id",), (True,)),)}),
        ({"claims": ((("id",), (1,)),)}, {"claim_patterns": ((("id",), compile_pattern(".*")),)}),
        ({"claims": ((("id",), ("1",)),)}, {"claims": ((("ref",), ("1",)),)}),
        ({"not_before": NOW}, {"not_after": NOW + 9}),
        ({"max_age": 60}, {"single_use": True}),
        (
            {"claim_patterns": ((("ref",), compile_pattern("v.*")),)},
            {"claim_patterns": ((("id",), compile_pattern(".*")),)},
        ),
        (
            {"subject": None, "subject_pattern": compile_pattern(r"\bx")},
            {"subject": None, "subject_pattern": compile_pattern(".*x")},
        ),
        # Without tags a token gets all of the client's.
        (
            {"allowed_scopes": frozenset({"auth_keys"})},
            {"allowed_scopes": frozenset({"auth_keys"}), "allowed_tags": frozenset({"tag:a"})},
        ),
    ],
)
def test_not_covered(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Where one has what the other has not, both stay."""
    assert not covered(one, other)
    assert not covered(other, one)


def test_twins() -> None:
    """Of two policies that allow the same, the later by name is said to be covered, and by which."""
    assert found(policy("a"), policy("b")) == [
        ("covered", "b.toml", "allows nothing that a.toml does not allow as well")
    ]


def test_other_keys() -> None:
    """Policies with other sources of keys are of different trusts, whatever they say."""
    assert found(policy("a", JwksUrl("https://x")), policy("b", Discovery())) == []


def test_a_pattern_of_issuers() -> None:
    """A policy for a pattern of issuers covers one that names such an issuer and looks its keys up there as well."""
    pattern = compile_pattern(r"https://[a-z]+\.example\.com")
    family = policy("z", issuer="", issuer_pattern=pattern)
    one = policy("a", issuer="https://a.example.com", max_age=60)
    assert [file for _, file, _ in found(one, family)] == ["a.toml"]
    assert found(policy("a", JwksUrl("https://x"), issuer="https://a.example.com"), family) == []
    assert found(policy("a", issuer="https://a.example.org"), family) == []
    assert found(policy("y", issuer="", issuer_pattern=compile_pattern(r"https://a\.example\.com")), family) == []


def test_opa_is_a_condition() -> None:
    """A policy that asks an Open Policy Agent covers only what asks the same one."""
    asking = policy("b", opa_url="http://127.0.0.1/")
    assert asking.opa == OpaAllows("http://127.0.0.1/")
    assert [file for _, file, _ in found(policy("a"), asking)] == ["b.toml"]


def test_the_number_of_comparisons_is_bounded() -> None:
    """Of many policies that name nobody exactly, only so many are compared with all others."""
    patterns = [
        policy(f"p{number:03}", subject=None, subject_pattern=compile_pattern(f"x{number}"))
        for number in range(MAX_COMPARED)
    ]
    assert found(*patterns, policy("a"), policy("z", subject=None)) == []
    assert [code for code, _, _ in found(*patterns[1:], policy("a"), policy("z", subject=None))] != []


def test_expired() -> None:
    """A policy whose time is over is said to be of no use; one whose time comes or ends later is not."""
    over = policy("a", not_after=NOW)
    assert found(over) == [("expired", "a.toml", "is in the past: the policy allows nothing any more")]
    assert found(over, now=NOW - 1) == []
    assert found(policy("a", not_before=NOW + 9)) == []
