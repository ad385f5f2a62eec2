"""P-16: what everybody on the machine could have written decides nothing: folders, policies, keys, certificates."""

import asyncio
import json
from pathlib import Path

import pytest

from fakes.http import eventually_async
from fakes.issuer import Issuer
from fakes.policies import policy
from fakes.tls import Authority
from tailsts.oidc.freshness import Rules
from tailsts.oidc.jwks import FetchReport, KeyCache
from tailsts.oidc.source import JwksFile
from tailsts.outbound import Limits, Outbound
from tailsts.policy.finding import Severity
from tailsts.policy.store import Options, load

ISSUER = "https://issuer.example.com"
EVERYBODY = "can be changed by everybody on this machine; chmod o-w it"


def faults(folder: Path) -> list[tuple[str, str, str]]:
    """Return code, key and message of each fault; with one, there is no generation."""
    loaded = load(folder, Options())
    found = [(f.code, f.path, f.message) for f in loaded.findings if f.severity is Severity.FAULT]
    assert (loaded.generation is None) == bool(found)
    return found


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o755, []),
        (0o775, []),
        (0o777, [("folder", "", EVERYBODY)]),
        (0o757, [("folder", "", EVERYBODY)]),
        (0o1777, []),
    ],
)
def test_p16_a_folder(folder: Path, mode: int, expected: list[tuple[str, str, str]]) -> None:
    """P-16: a folder in which everybody can put policies is a fault, but for the sticky bit, as Kubernetes sets it."""
    (folder / "p.toml").write_text(policy(ISSUER))
    folder.chmod(mode)
    assert faults(folder) == expected


def named(key: str) -> tuple[bytes, dict[str, object]]:
    """Return a good content for the file that `key` names, and the policy's other keys that go with it."""
    if key == "ca_file":
        return Authority().pem, {}
    return json.dumps(Issuer(ISSUER).jwks()).encode(), {"jwks_url": None}


@pytest.mark.parametrize("key", ["jwks_file", "ca_file"])
@pytest.mark.parametrize(("mode", "is_fault"), [(0o644, False), (0o664, False), (0o666, True), (0o646, True)])
def test_p16_files_that_a_policy_names(folder: Path, key: str, mode: int, is_fault: bool) -> None:
    """P-16: keys and certificates that everybody could have changed are a fault of the policy that names them."""
    content, others = named(key)
    (folder / "named").write_bytes(content)
    (folder / "named").chmod(mode)
    (folder / "p.toml").write_text(policy(ISSUER, **{key: "named"}, **others))
    assert faults(folder) == ([("named-file", key, EVERYBODY)] if is_fault else [])


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "k": "AAAA", "kid": "x"}],
        [{"kty": "zz"}],
    ],
)
def test_k06_a_file_without_usable_key(folder: Path, keys: list[object]) -> None:
    """K-06: a key set in a file from which no key can be used is a fault before the service starts, not a 503 after."""
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    (folder / "p.toml").write_text(policy(ISSUER, jwks_url=None, jwks_file="keys.json"))
    assert faults(folder) == [("named-file", "jwks_file", "holds no usable key")]


def test_a_file_that_several_policies_name(folder: Path) -> None:
    """Policies may share a file: they have one source then, and a fault of it is a fault of each."""
    (folder / "keys.json").write_text(json.dumps(Issuer(ISSUER).jwks()))
    for name in ("a", "b"):
        (folder / f"{name}.toml").write_text(policy(ISSUER, jwks_url=None, jwks_file="keys.json"))
    generation = load(folder, Options()).generation
    assert generation is not None
    first, second = (found.source for found in generation.policies)
    assert first == second
    (folder / "keys.json").chmod(0o666)
    assert faults(folder) == [("named-file", "jwks_file", EVERYBODY)] * 2


async def test_p16_a_key_file_that_is_opened_to_everybody_later(tmp_path: Path) -> None:
    """P-16, N-04: from the moment on that everybody may write it, a key file is not read: the last good keys serve."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(Issuer(ISSUER).jwks()))
    reports: list[FetchReport] = []
    cache = KeyCache(
        ISSUER,
        JwksFile(path),
        Outbound(Limits(connect=0.3, total=0.5, body=1024)),
        rules=Rules(refresh_after=0.02, first_retry=0.02, last_retry=0.02),
        monotonic=asyncio.get_running_loop().time,
        report=reports.append,
    )
    cache.start()
    await eventually_async(cache.is_usable)
    path.chmod(0o666)
    path.write_text(json.dumps(Issuer(ISSUER, numbers=[1]).jwks()))
    await eventually_async(lambda: [report.fault for report in reports[-2:]] == [EVERYBODY] * 2)
    assert (cache.cached("key-RS256-0") is cache.keys, cache.cached("key-RS256-1")) == (True, None)
    path.chmod(0o644)
    await eventually_async(lambda: cache.cached("key-RS256-1") is not None)
    assert cache.cached("key-RS256-0") is None
    cache.stop()
