"""A port, served in our own event loop, over real sockets: who is cut off where."""

import asyncio

from tailsts.server import wire
from tailsts.server.listener import ADMIN_CONNECTIONS, Listener, bind, connections_allowed
from tailsts.server.room import CROWDED
from tailsts.server.rsgi import Application, Inbound
from tailsts.server.wire import Answer


async def respond(_inbound: Inbound) -> Answer:
    """Answer that all is well."""
    return wire.plain(200, "ok")


async def test_the_admin_port_makes_no_room() -> None:
    """None is cut off there while as many are open as may be, and each is answered."""
    listener = Listener(Application(respond), bind("127.0.0.1", 0), public=False)
    assert listener.allowed == min(ADMIN_CONNECTIONS, connections_allowed(1))
    listener.start()
    crowd = [
        await asyncio.open_connection(listener.host, listener.port) for _ in range(int(listener.allowed * CROWDED) + 2)
    ]
    # Long enough for several looks.
    await asyncio.sleep(0.3)
    for _, writer in crowd:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: sts\r\n\r\n")
    answers = await asyncio.gather(*(reader.readline() for reader, _ in crowd))
    assert set(answers) == {b"HTTP/1.1 200 OK\r\n"}
    assert listener.cut_off == 0
    for _, writer in crowd:
        writer.close()
    assert await listener.drain(5)
