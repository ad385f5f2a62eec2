"""U-02: fifty thousand concurrent exchanges, each with scopes of its own, and not one gets those of another.

The Go program that had this job kept the scopes in a shared struct: under load 21 of 139,088 callers were handed
tokens with the scopes of somebody else.
"""

import asyncio
import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.leaks import note_secret
from fakes.lean_tailscale import MARK, LeanTailscale
from fakes.policies import policy
from fakes.service import Service

EXCHANGES, CONNECTIONS = 50_000, 96
SCOPES = ("devices:core:read", "dns", "dns:read", "policy_file", "users:read", "webhooks")

# Scopes that were asked for, and the token that came: what each exchange is remembered by.
Traded = tuple[tuple[str, ...], str]


class Workload:
    """A connection over which exchanges are made, each with scopes that chance picks."""

    def __init__(self, port: int, tokens: list[str], chance: random.Random) -> None:
        self._port = port
        self._tokens = tokens
        self._chance = chance

    async def trade(self, count: int) -> list[Traded]:
        """Make `count` exchanges, one after the other."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        traded = []
        for _ in range(count):
            wanted = self._chance.sample(SCOPES, self._chance.randint(1, len(SCOPES)))
            writer.write(_request(self._chance.choice(self._tokens), wanted))
            traded.append((tuple(wanted), await _token(reader)))
        writer.close()
        return traded


def _request(token: str, scopes: list[str]) -> bytes:
    body = json.dumps({"scopes": scopes})
    head = f"POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"{head}{body}".encode()


async def _token(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].split()[0])
    text = (await reader.readexactly(length)).decode()
    return text if head.startswith(b"HTTP/1.1 200 ") else f"{head.decode()}{text}"


def scopes_in(token: str) -> tuple[str, ...]:
    """Return the scopes that a minted token says it has."""
    return tuple(token.partition(":")[2].split("+"))


@pytest.mark.timeout(300)
async def test_u02_no_scope_reaches_another_caller(tmp_path: Path) -> None:
    """U-02: each of 50,000 answers carries the scopes that were asked, and each has one audit event that says so."""
    note_secret(MARK)
    with FakeIssuer() as issuer, LeanTailscale() as tailscale:
        text = policy(issuer.url, allowed_scopes=list(SCOPES))
        with Service(tmp_path, {"infra": text}, tailscale) as service:
            service.wait_for_keys()
            tokens = [issuer.token() for _ in range(200)]
            # A choice that is the same in each run, not a secret.
            chances = [random.Random(number) for number in range(CONNECTIONS)]  # noqa: S311
            loads = [Workload(service.port, tokens, chance) for chance in chances]
            shares = [EXCHANGES // CONNECTIONS + (number < EXCHANGES % CONNECTIONS) for number in range(CONNECTIONS)]
            lots = await asyncio.gather(*(load.trade(share) for load, share in zip(loads, shares, strict=True)))
            traded = [exchange for lot in lots for exchange in lot]
            eventually(lambda: service.audit_log.read_bytes().count(b"\n") >= EXCHANGES)
        events = service.events()
    assert [exchange for exchange in traded if scopes_in(exchange[1]) != exchange[0]] == []
    assert len({token for _, token in traded}) == EXCHANGES
    recorded = Counter(
        (tuple(event["requested_scopes"]), tuple(event["granted_scopes"]), event["token_sha256"]) for event in events
    )
    expected = Counter((wanted, wanted, hashlib.sha256(token.encode()).hexdigest()) for wanted, token in traded)
    assert recorded == expected
    assert len({event["decision"] for event in events}) == EXCHANGES
