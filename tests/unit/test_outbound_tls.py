"""N-13: certificates are always verified, and a private authority works where it is named."""

from pathlib import Path

import pytest

from fakes.http import ScriptedServer, http
from fakes.tls import Authority
from tailsts.errors import OutboundError
from tailsts.outbound import Limits, Outbound, certificates

LIMITS = Limits(connect=2.0, total=3.0, body=1000)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Return an authority that no system trusts."""
    return Authority()


async def ask(
    server_folder: Path, authority: Authority, *roots: bytes, host: str = "localhost", days: int = 2
) -> bytes:
    """Ask a server with a certificate of `authority`, trusting `roots` in addition."""
    context = authority.server_context(server_folder, host, days=days)
    with ScriptedServer(lambda _request: http(200, b"hello"), tls=context) as server:
        outbound = Outbound(LIMITS, extra_roots=roots)
        return (await outbound.get(f"https://localhost:{server.port}/")).body


async def test_a_private_authority(tmp_path: Path, authority: Authority) -> None:
    """A server is believed if the authority behind it was named, also among others in one file."""
    assert await ask(tmp_path, authority, authority.pem) == b"hello"
    assert await ask(tmp_path, authority, Authority("another").pem + authority.pem) == b"hello"


@pytest.mark.parametrize(("host", "days"), [("localhost", -1), ("other.example.com", 2)])
async def test_wrong_certificates(tmp_path: Path, authority: Authority, host: str, days: int) -> None:
    """An expired certificate, and one for another host, are refused although their authority is trusted."""
    with pytest.raises(OutboundError, match="certificate") as caught:
        await ask(tmp_path, authority, authority.pem, host=host, days=days)
    assert caught.value.kind == "connect"


async def test_unknown_authorities(tmp_path: Path, authority: Authority) -> None:
    """A certificate of an authority that nobody named is refused."""
    with pytest.raises(OutboundError, match="certificate"):
        await ask(tmp_path, authority)
    with pytest.raises(OutboundError, match="certificate"):
        await ask(tmp_path, authority, Authority("another").pem)


def test_bundles_are_taken_apart(authority: Authority) -> None:
    """A PEM text with several certificates gives each of them."""
    assert len(certificates(authority.pem + Authority("another").pem)) == 2
