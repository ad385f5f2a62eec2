"""Hosts at which everybody can have something: our reading of the public suffix list against that of its library."""

import subprocess
import sys

import pytest
from publicsuffixlist import PublicSuffixList

from tailsts.policy.patterns.issuer_pattern import refuse_issuer_pattern
from tailsts.policy.patterns.suffixes import is_everybodys, open_suffix, suffixes
from tailsts.policy.patterns.syntax import Node, Sequence, parse

LIBRARY = PublicSuffixList(accept_unknown=False)
# A wildcard stands for any label.
NAMES = sorted(rule.replace("*", "kumquat-zq") for rule in suffixes().rules if "." in rule)


def labels(host: str) -> list[tuple[Node, ...]]:
    """Return the labels of a pattern of a host, without dots in classes."""
    nodes = [parse(label) for label in host.split(r"\.")]
    return [node.parts if isinstance(node, Sequence) else (node,) for node in nodes if node is not None]


def pattern(host: str) -> str:
    """Return the pattern of a plain host."""
    return host.replace(".", r"\.")


def test_every_name_of_the_list() -> None:
    """Each suffix of the list is one; below each, what varies is anybody's."""
    assert len(NAMES) > 8000
    assert [name for name in NAMES if LIBRARY.is_public(name) and not is_everybodys(name)] == []
    assert [name for name in NAMES if refuse_issuer_pattern(rf"https://[a-z]+\.{pattern(name)}") is None] == []


def test_names_of_somebody() -> None:
    """A name right below a suffix belongs to somebody, unless it is one as well, and what is below it is theirs."""
    owned = [f"kumquat-zq.{name}" for name in NAMES]
    owned = [name for name in owned if not LIBRARY.is_public(name) and name not in NAMES]
    assert [name for name in owned if is_everybodys(name)] == []
    assert [name for name in owned if open_suffix(labels(rf"[a-z]+\.{pattern(name)}"))] == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        # An exception to a wildcard is somebody's.
        ("city.kawasaki.jp", False),
        ("town.kawasaki.jp", True),
        # Beyond ASCII, as URLs have it.
        ("xn--55qx5d.cn", True),
        # Not on the list: ours.
        ("storage.googleapis.com", True),
        ("example.com", False),
        # In one's own network, where a name of one label is not that of a registry.
        ("dev", False),
    ],
)
def test_plain_hosts(host: str, expected: bool) -> None:
    """Wildcards, their exceptions, names beyond ASCII, and those that the public list has not."""
    assert is_everybodys(host) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (r"[a-z]+\.city\.kawasaki\.jp", ""),
        (r"[a-z]+\.town\.kawasaki\.jp", "*.kawasaki.jp"),
        (r"[a-z]+\.[a-z]+\.kawasaki\.jp", "*.kawasaki.jp"),
        (r"[a-z]+\.xn--55qx5d\.cn", "xn--55qx5d.cn"),
        # A label further left is a suffix only for some of what it matches.
        (r"[a-z0-9]+\.[a-z0-9]+\.example\.com", ""),
        (r"acme\.s[0-9]\.amazonaws\.com", "s3.amazonaws.com"),
        (r"acme\.(?:x|s3)\.amazonaws\.com", "s3.amazonaws.com"),
        (r"acme\.x[0-9]\.amazonaws\.com", ""),
        (r"a[a-z]\.run\.app", "run.app"),
        # It is the host itself.
        (r"s[0-9]\.amazonaws\.com", "s3.amazonaws.com"),
        (r"storage[a-z]*\.googleapis\.com", "googleapis.com"),
        # A part of a suffix is none.
        (r"us-eas[a-z]-1\.on\.aws", ""),
        # Of the service's own, in any region.
        (r"oidc\.eks\.[a-z0-9-]+\.amazonaws\.com", ""),
        (r"oidc\.eks\.[a-z0-9-]+\.amazonaws\.com\.cn", ""),
        (r"evil\.eks\.[a-z0-9-]+\.amazonaws\.com", "us-east-1.amazonaws.com"),
        (r"[a-z]+\.eks\.us-east-1\.amazonaws\.com", ""),
    ],
)
def test_labels_that_vary(host: str, expected: str) -> None:
    """Each way in which the labels that vary can be a suffix is looked at, and only those."""
    found = open_suffix(labels(host))
    # Of several suffixes, which one is said does not matter.
    assert bool(found) == bool(expected)
    assert not expected or found == expected or host.startswith("evil")


def test_the_list_is_read_where_it_is_needed() -> None:
    """A policy without a pattern of issuers does not cost the list."""
    text = r"""
import sys
from tailsts.policy.finding import Page
from tailsts.policy.parse import parse
head = 'audience = "a"\nsubject = "s"\nallowed_scopes = ["dns:read"]\n'
plain = Page("p.toml", head + 'issuer = "https://a.example.com"')
assert parse("p", plain) is not None, plain.findings
assert "publicsuffixlist" not in sys.modules
by_pattern = Page("p.toml", head + r"issuer_pattern = 'https://[a-z]+\.example\.com'")
assert parse("p", by_pattern) is not None, by_pattern.findings
assert "publicsuffixlist" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
