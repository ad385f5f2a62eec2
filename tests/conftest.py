"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fakes.issuer import FakeIssuer
from fakes.tailscale import FakeTailscale

settings.register_profile("tailsts", deadline=None, print_blob=True)
settings.load_profile("tailsts")

AUDIENCE = "https://sts.example.com"
SUBJECT = "repo:acme/infra:ref:refs/heads/main"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the search for leaks when everything else has written what it writes."""
    items.sort(key=lambda item: "test_leaks" in item.nodeid)


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    """Return an issuer with one RS256 key, on a socket."""
    with FakeIssuer() as running:
        yield running


@pytest.fixture
def tailscale() -> Iterator[FakeTailscale]:
    """Return a Tailscale, on a socket."""
    with FakeTailscale() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder for policies."""
    made = tmp_path / "policies"
    made.mkdir()
    return made
