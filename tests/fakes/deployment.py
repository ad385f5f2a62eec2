"""The service with its two neighbours: one issuer, one Tailscale, one policy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service
from fakes.tailscale import FakeTailscale


@dataclass(frozen=True)
class Deployment:
    """All three, running."""

    service: Service
    issuer: FakeIssuer
    tailscale: FakeTailscale


@contextmanager
def deployed(
    folder: Path, options: Sequence[str] = (), without: Sequence[str] = (), **variables: str
) -> Iterator[Deployment]:
    """Run the three, with the usual policy under the name "infra"; yield them when the keys are there."""
    with (
        FakeIssuer() as issuer,
        FakeTailscale() as tailscale,
        Service(folder, {"infra": policy(issuer.url)}, tailscale, options, without, **variables) as service,
    ):
        if "admin" in service.ports:
            service.wait_for_keys()
        yield Deployment(service, issuer, tailscale)
