"""What the service asks of the system for its memory."""

from pathlib import Path

import pytest

from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale

POLICIES = {"infra": policy("https://issuer.example", jwks_url="https://issuer.example/jwks")}


def large_pages_allowed(service: Service) -> str:
    """Return whether Linux may give the process pages of 2 MiB, as it says it: "1" or "0"."""
    status = Path(f"/proc/{service.process.pid}/status")
    if not status.exists() or "THP_enabled:" not in status.read_text():
        pytest.skip("only Linux says which pages a process may have")
    return status.read_text().partition("THP_enabled:")[2].split()[0]


@pytest.mark.parametrize(("variables", "allowed"), [({}, "0"), ({"MIMALLOC_ALLOW_THP": "1"}, "1")])
def test_small_pages(tmp_path: Path, variables: dict[str, str], allowed: str) -> None:
    """The HTTP library's allocator takes no large pages, unless whoever starts the service wants them."""
    with FakeTailscale() as tailscale, Service(tmp_path, POLICIES, tailscale, **variables) as service:
        assert large_pages_allowed(service) == allowed
