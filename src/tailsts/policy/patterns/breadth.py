"""Patterns that say next to nothing of who is asking."""

from typing import assert_never

from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.patterns.syntax import Alternation, CharSet, Literal, Node, Repeat, Sequence, parse

# A class of this many characters leaves the choice to whoever writes the value: [0-9] is the smallest usual one.
_WIDE = 10
# As many characters of free choice are 10,000 values at least.
_FREE = 4
# Counts may be endless; past this it makes no difference.
_ENDLESS = 1_000_000

_UUIDS = ("7a1fc7f5-05d2-4a5e-8f00-11aa22bb33cc", "e3d1b0c2-44a7-4f6a-b1f9-9c8d7e6f5a4b")
# Each family is of people who have nothing to do with each other. A pattern that takes in all of one takes in everybody
# who has an account there. The names are odd ones, so that no list of real ones holds a whole family by accident.
_FAMILIES = (
    ("walnut", "kumquat", "zq", "main"),
    ("1", "4711", "90210360", "987654321012345678901"),
    ("walnut/api", "zebra-9/kumquat", "Q/x.y"),
    ("w@walnut.com", "z.q@kumquat.com", "Q9@zebra.com"),
    ("w@gmail.com", "z.q@gmail.com", "Q9@gmail.com"),
    # GitHub: all that runs, then all that runs in the main branch, in an environment, for a pull request.
    ("repo:walnut/api:ref:refs/heads/main", "repo:zebra-9/x.y:pull_request", "repo:Q/q:environment:kumquat"),
    ("repo:walnut/api:ref:refs/heads/main", "repo:zebra-9/x.y:ref:refs/heads/main", "repo:Q/q:ref:refs/heads/main"),
    ("repo:walnut/api:environment:production", "repo:zebra-9/x.y:environment:production"),
    ("repo:walnut/api:environment:prod", "repo:zebra-9/x.y:environment:prod"),
    ("repo:walnut/api:pull_request", "repo:zebra-9/x.y:pull_request"),
    ("repo:walnut@1/api@2:ref:refs/heads/main", "repo:zebra-9@4711/x.y@90210:ref:refs/heads/main"),
    # GitLab
    ("project_path:walnut/api:ref_type:branch:ref:main", "project_path:zebra-9/q/x.y:ref_type:branch:ref:main"),
    # Kubernetes
    ("system:serviceaccount:walnut:default", "system:serviceaccount:zebra-9:kumquat"),
    # HCP Terraform
    (
        "organization:walnut:project:api:workspace:prod:run_phase:apply",
        "organization:zebra-9:project:q:workspace:prod:run_phase:apply",
    ),
    # Buildkite
    (
        "organization:walnut:pipeline:api:ref:refs/heads/main:commit:9f86d08:step:",
        "organization:zebra-9:pipeline:q:ref:refs/heads/main:commit:60303ae:step:deploy",
    ),
    # CircleCI
    tuple(f"org/{org}/project/{project}/user/{project}" for org, project in (_UUIDS, _UUIDS[::-1])),
    # SPIFFE
    ("spiffe://walnut.example/api", "spiffe://kumquat.zebra/ns/q/sa/default"),
)


def is_catch_all(pattern: Pattern) -> bool:
    r"""Return whether `pattern` says next to nothing, which is decided by what it matches, not by how it is written.

    It does if it matches values in which nothing is fixed but punctuation (`.*`, `\d+`, `[^x]*`, `.+@.+`, `.*|a`), or a
    whole family of subjects of strangers (`repo:.*`, `repo:.*/.*:environment:prod`).
    """
    if any(all(pattern.matches(value) for value in family) for family in _FAMILIES):
        return True
    node = parse(pattern.text)
    return node is not None and (_freedom(node) or 0) >= _FREE


def _freedom(node: Node) -> int | None:
    """Return how many characters a value may choose at most, if it need hold no certain letter or digit; else None."""
    match node:
        case Literal():
            return None if node.character.isalnum() else 0
        case CharSet():
            return 1 if _size(node) >= _WIDE else None
        case Sequence():
            return _sum([_freedom(part) for part in node.parts])
        case Alternation():
            return max((free for branch in node.branches if (free := _freedom(branch)) is not None), default=None)
        case Repeat():
            times = _ENDLESS if node.maximum is None else node.maximum
            once = _freedom(node.node)
            if once is None:
                return 0 if node.minimum == 0 else None
            return once * times
        case _:
            assert_never(node)


def _sum(freedoms: list[int | None]) -> int | None:
    known = [free for free in freedoms if free is not None]
    return sum(known) if len(known) == len(freedoms) else None


def _size(of: CharSet) -> int:
    return sum(last - first + 1 for first, last in of.ranges)
