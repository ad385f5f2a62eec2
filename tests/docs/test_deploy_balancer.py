"""The load balancer of the composition, run as it is by a real nginx.

TAILSTS_NGINX names nginx, where it is not on the path; TAILSTS_NGINX_STREAM its module for streams, where it is not
where Debian's package puts it, or "" where nginx has it built in.
"""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import eventually
from fakes.pages import read
from fakes.raw import RawConnection
from fakes.service import is_served, unused_port
from fakes.tls import Authority

STREAM = os.environ.get("TAILSTS_NGINX_STREAM", "/usr/lib/nginx/modules/ngx_stream_module.so")
CONFIGURATION = read("deploy/nginx.conf")
(MOST,) = map(int, re.findall(r"limit_conn callers (\d+);", CONFIGURATION))
# Of one stranger; below what the listener's queue takes at once.
CROWD = MOST * 3
PATIENCE = 20.0


def configured(folder: Path, port: int, replica: int) -> Path:
    """Write the configuration with the ports and folders of this test, and nothing else changed."""
    Authority().server_context(folder)
    (pair,) = folder.glob("server-*.pem")
    text = CONFIGURATION
    for old, new in (
        ("listen 8443 ", f"listen 127.0.0.1:{port} "),
        ("http://$replicas:8080;", f"http://127.0.0.1:{replica};"),
        ("/var/cache/nginx", str(folder)),
        ("/run/secrets/tls_crt", str(pair)),
        ("/run/secrets/tls_key", str(pair)),
        ("/dev/stderr", str(folder / "nginx.log")),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    # Here there may be no user that it would change to.
    path.write_text(("user root;\n" if os.geteuid() == 0 else "") + text)
    return path


@contextmanager
def balanced(folder: Path, site: Deployment) -> Iterator[int]:
    """Run nginx in front of the service; yield its port."""
    nginx = shutil.which(os.environ.get("TAILSTS_NGINX") or "nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or (STREAM and not Path(STREAM).exists()):
        pytest.skip("no nginx with its module for streams (Debian: libnginx-mod-stream)")
    port = unused_port()
    loading = f"load_module {STREAM}; " if STREAM else ""
    path = configured(folder, port, site.service.port)
    command = [nginx, "-c", str(path), "-g", f"{loading}daemon off;"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: is_served(port), 30)
            yield port
        finally:
            process.terminate()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Deployment]:
    """Return a service that believes the balancer."""
    with deployed(tmp_path / "service", TAILSTS_TRUSTED_PROXIES="127.0.0.1/32") as site:
        yield site


def exchange(site: Deployment, port: int, host: str) -> bytes:
    """Make an exchange over TLS from this address, with a lie about it; return the answer."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    head = (
        f"POST / HTTP/1.1\r\nHost: sts\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.7\r\n"
        f"Authorization: Bearer {site.issuer.token()}\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n"
    )
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(host, 0))
    with context.wrap_socket(plain) as caller:
        caller.sendall(head.encode() + b'{"scopes":["devices:core:read"]}')
        return b"".join(iter(lambda: caller.recv(4096), b""))


def test_h01_one_address_crowds_nobody_out(tmp_path: Path, site: Deployment) -> None:
    """H-01: an address has a hundred connections, though nothing is sent over them; another one is served meanwhile."""
    with balanced(tmp_path, site) as port:
        crowd = [RawConnection(port, PATIENCE) for _ in range(CROWD)]
        ended = [connection for connection in crowd[MOST:] if connection.read() is None]
        assert len(ended) == CROWD - MOST
        answer = exchange(site, port, "127.0.0.2")
        assert answer.startswith(b"HTTP/1.1 200 ")
        for connection in crowd:
            connection.close()
        eventually(lambda: bool(site.service.events()))
        (event,) = site.service.events()
        assert event["peer"] == "127.0.0.2"
