"""Patterns that say next to nothing."""

import pytest

from tailsts.policy.patterns.breadth import is_catch_all
from tailsts.policy.patterns.pattern import compile_pattern


@pytest.mark.parametrize(
    "text",
    [
        ".*",
        ".+",
        "^.*$",
        "(.*)",
        ".*|a",
        "a|.*",
        "[^x]*",
        r"[^\n]+",
        "(?:.|\n)*",
        "[0-9]+",
        r"\d+",
        r"\w+",
        "[a-z]+",
        "[a-z]+(-[a-z]+)*",
        "(acme)?.*",
        "[0-9]{12}",
        "[0-9a-f]{40}",
        "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        ".+@.+",
        r".+@gmail\.com",
        ".*/.*",
        r"\pL*",
        r"\C*",
        "repo:.*",
        "repo:[^/]+/.*",
        "repo:.*:ref:refs/heads/main",
        "repo:.*/.*:environment:production",
        "repo:[^:]+:pull_request",
        "project_path:.*:ref_type:branch:ref:main",
        "system:serviceaccount:.*",
        "organization:.*",
        "org/.*/project/.*",
        "spiffe://.*",
    ],
)
def test_p09_catch_all(text: str) -> None:
    """P-09: what anybody's value matches is known for it, however it is written."""
    assert is_catch_all(compile_pattern(text))


@pytest.mark.parametrize(
    "text",
    [
        "repo:acme/.*",
        "repo:(acme|globex)/.*:ref:refs/heads/main",
        ".*acme.*",
        r".*@acme\.com",
        "release-.*",
        "refs/heads/.*",
        "v[0-9.]+",
        "main|production",
        "walnut|kumquat|main",
        "a?",
        "[0-9]",
        "[ab]+",
        "(a|[bc])+",
        "[0-9a-f-]{36}:acme",
        "system:serviceaccount:ci:.*",
        "system:serviceaccount:[a-z0-9-]+:deployer",
        "project_path:acme/.*",
        "organization:acme:.*",
        "spiffe://acme.example/.*",
        r"\pL+-acme",
        "()",
    ],
)
def test_not_catch_all(text: str) -> None:
    """A pattern that asks for somebody's name, or for one of few values, is not taken for one."""
    assert not is_catch_all(compile_pattern(text))
