"""A file of keys that is gone or broken when a worker takes another one's place: the keys that were in force are."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from fakes.http import eventually_async
from fakes.issuer import Issuer
from fakes.policies import policy
from tailsts.errors import KeysUnavailableError
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import FetchReport, KeyCache
from tailsts.oidc.keyring import KeyRing
from tailsts.oidc.source import JwksFile, JwksText
from tailsts.policy.model import Trust
from tailsts.policy.store import Loaded, Options
from tailsts.server.keylog import KeyLog
from tailsts.server.shown.metrics import Metrics
from tailsts.server.sources import Folder
from tailsts.server.workers.keeping import pack, unpack

NAME = "https://air-gapped.example"
FIRST, SECOND, THIRD = "key-RS256-0", "key-RS256-1", "key-RS256-2"
# Instead of five minutes, and of a second after a failure.
SOON = Rules(refresh_after=0.02, first_retry=0.02, last_retry=0.02)
BROKEN = ['{"keys": [', "", "[]", '{"keys": []}', '{"keys": [{"kty": "EC"}]}']


def key_set(*numbers: int) -> str:
    """Return the key set with the keys of these numbers."""
    return json.dumps(Issuer(NAME, numbers=list(numbers)).jwks())


def source_at(folder: Path) -> Folder:
    """Return the folder as a source of policies."""
    return Folder(folder, Options(), time.time, time.monotonic)


@pytest.fixture
def path(folder: Path) -> Path:
    """Return the file of keys that the one policy in the folder names."""
    (folder / "file.toml").write_text(policy(NAME, jwks_url=None, jwks_file="keys.json"))
    path = folder / "keys.json"
    path.write_text(key_set(0))
    return path


def trusts(loaded: Loaded) -> Iterable[Trust]:
    """Return what is trusted."""
    assert loaded.generation is not None, loaded.findings
    return loaded.generation.all_trusts()


def handed_over(folder: Path, before: Loaded) -> Loaded:
    """Return the policies that were in force, as a worker to come has them."""
    packed = pack(before.sheaf)
    assert packed is not None
    return source_at(folder).handed_over(unpack(packed))


@asynccontextmanager
async def caching(loaded: Loaded, rules: Rules | None = None) -> AsyncIterator[tuple[KeyCache, list[FetchReport]]]:
    """Yield the cache of the one issuer that is trusted, after its first attempt, and its reports."""
    reports: list[FetchReport] = []
    ring = KeyRing(
        extra_roots=(), rules=rules or Rules(), monotonic=asyncio.get_running_loop().time, report=reports.append
    )
    (cache,) = ring.adopt((trust.issuer.name, trust.source) for trust in trusts(loaded)).values()
    await eventually_async(lambda: bool(reports))
    yield cache, reports
    ring.stop()


def write(path: Path, text: str | None) -> None:
    """Let the file hold the text, or be gone."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


@pytest.mark.parametrize("text", [None, *BROKEN])
async def test_a_file_that_cannot_be_used(folder: Path, path: Path, text: str | None) -> None:
    """A worker that takes another one's place has the keys that were in force, though their file is gone or broken."""
    before = source_at(folder).first()
    write(path, text)
    async with caching(handed_over(folder, before)) as (cache, _):
        assert cache.cached(FIRST) is not None
        cache.require_usable()


async def test_what_the_file_holds_comes_first(folder: Path, path: Path) -> None:
    """A key that was withdrawn meanwhile is not in force: a file that can be read is what counts."""
    before = source_at(folder).first()
    write(path, key_set(1))
    async with caching(handed_over(folder, before)) as (cache, _):
        assert cache.cached(FIRST) is None
        assert cache.cached(SECOND) is not None


async def test_the_file_is_read_again(folder: Path, path: Path) -> None:
    """The file is looked at in time as ever: what is wrong with it is said, and its keys count when it has some."""
    before = source_at(folder).first()
    write(path, None)
    async with caching(handed_over(folder, before), SOON) as (cache, reports):
        await eventually_async(lambda: reports[-1].fault == "cannot be read: No such file or directory")
        assert cache.cached(FIRST) is not None
        # What the file does not say, nobody knows.
        with pytest.raises(KeysUnavailableError):
            await cache.keys_for(SECOND)
        write(path, key_set(1))
        await eventually_async(lambda: cache.cached(SECOND) is not None)
        assert cache.cached(FIRST) is None


async def test_a_withdrawn_key_does_not_come_back(folder: Path, path: Path) -> None:
    """A cache that has had keys from the file keeps those, whatever becomes of the file, and what it held at first."""
    loaded = source_at(folder).first()
    async with caching(loaded, SOON) as (cache, reports):
        assert cache.cached(FIRST) is not None
        beside = path.with_suffix(".new")
        beside.write_text(key_set(1))
        beside.rename(path)
        await eventually_async(lambda: cache.cached(SECOND) is not None)
        for text in (None, *BROKEN):
            write(path, text)
            count = len(reports)
            await eventually_async(lambda count=count: len(reports) >= count + 3)  # type: ignore[misc]
            assert reports[-1].fault is not None
            assert cache.cached(FIRST) is None
            assert cache.cached(SECOND) is not None


async def test_a_file_that_no_policy_was_read_with(tmp_path: Path) -> None:
    """Without a content from before, a file that is gone gives no keys."""
    reports: list[FetchReport] = []
    monotonic = asyncio.get_running_loop().time
    ring = KeyRing(extra_roots=(), rules=Rules(), monotonic=monotonic, report=reports.append)
    (cache,) = ring.adopt([(NAME, JwksFile(tmp_path / "none"))]).values()
    await eventually_async(lambda: bool(reports))
    assert cache.keys is None
    ring.stop()


async def test_no_line_says_what_is_in_it(folder: Path, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a log line nor a finding says what a file of keys holds, nor does the source, however it is shown."""
    source = source_at(folder)
    loaded = source.first()
    (secret,) = {key["n"] for key in json.loads(key_set(0))["keys"]}
    log = KeyLog(Metrics())
    said: list[object] = list(loaded.findings)
    with structlog.testing.capture_logs() as lines:
        async with caching(loaded, SOON) as (_, reports):
            write(path, key_set(0)[:-1])
            await eventually_async(lambda: reports[-1].fault is not None)
            for report in reports:
                log.report(report)
            said += source.again().findings
    assert {line["event"] for line in lines} == {"keys fetched", "keys cannot be fetched"}
    (trust,) = trusts(loaded)
    assert isinstance(trust.source, JwksFile)
    shown = [*said, *lines, *reports, trust, loaded.generation, JwksText("keys.json", key_set(0).encode())]
    assert secret not in "".join(f"{each!r} {each}" for each in shown)
    assert secret not in "".join(capfd.readouterr())


async def test_what_is_remembered_of_a_source(folder: Path, path: Path) -> None:
    """Who hears of an attempt, and remembers its source as the log does, does not keep each content that there was."""
    loaded = source_at(folder).first()
    (trust,) = trusts(loaded)
    assert isinstance(trust.source, JwksFile)
    assert trust.source.content == key_set(0).encode()
    async with caching(loaded) as (cache, reports):
        assert [report.source for report in reports] == [JwksFile(path, trust.source.digest)]
        assert cache.source == reports[0].source
