"""A request's tags, and the policy that it names, without a socket."""

import json

import pytest

from tailsts.credentials import Secret
from tailsts.outcome import (
    ExchangeRequest,
    Malformed,
)
from tailsts.policy.decide import Wanted
from tailsts.server.wire import exchange_request

BAD_TAG = Malformed(400, "bad_tag", "each tag must be like tag:ci: letters, digits and hyphens")
TOO_MANY = Malformed(400, "too_many_tags", "more than 100 tags")


def read(**members: object) -> Wanted | Malformed:
    """Return what a request for the scope dns with these members wants, or what is wrong with it."""
    request = exchange_request(Secret("a.b.c"), json.dumps({"scopes": ["dns"], **members}).encode())
    return request.wanted if isinstance(request, ExchangeRequest) else request


def test_u07_tags_and_policy() -> None:
    """U-07: a request may name tags, each once and in their order, and the policy that it wants."""
    assert read() == read(tags=[]) == Wanted(("dns",))
    assert read(tags=["tag:b", "tag:a", "tag:b"]) == Wanted(("dns",), ("tag:b", "tag:a"))
    assert read(policy="infra") == Wanted(("dns",), (), "infra")
    assert read(tags=["tag:A-1"], policy="x" * 255) == Wanted(("dns",), ("tag:A-1",), "x" * 255)


@pytest.mark.parametrize(
    "tag",
    [
        *("", "ci", "tag:", "tag:1", "tag:-a", "tag:a b", "tag:a,tag:b", "TAG:a", "tag:\u00e9", "tag:a\n", "tag:a\0"),
        *("tag:" + "a" * 128, 1, None, True, ["tag:a"], {}),
    ],
)
def test_u07_what_is_no_tag(tag: object) -> None:
    """U-07: one entry that is no tag is 400, alone or after a good one."""
    assert read(tags=[tag]) == read(tags=["tag:a", tag]) == BAD_TAG


@pytest.mark.parametrize("count", [101, 10_000])
def test_u07_too_many_tags(count: int) -> None:
    """U-07: more than 100 tags are 400, also if they are all the same."""
    assert read(tags=[f"tag:t{number}" for number in range(count)]) == TOO_MANY
    assert read(tags=["tag:a"] * count) == TOO_MANY
    assert read(tags=[f"tag:t{number}" for number in range(100)]) == Wanted(
        ("dns",), tuple(f"tag:t{number}" for number in range(100))
    )
