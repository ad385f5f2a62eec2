"""The digest of a generation: it names all that decides, and nothing else."""

import json
from pathlib import Path

import pytest

from fakes.issuer import Issuer
from fakes.policies import policy
from fakes.tls import Authority
from tailsts.policy.model import Generation
from tailsts.policy.store import Memory, Options, load

ISSUER = "https://issuer.example.com"
AUTHORITIES = [Authority("one"), Authority("two")]


def generation(folder: Path, memory: Memory | None = None) -> Generation:
    """Return the generation of a folder without faults."""
    loaded = load(folder, Options(), memory)
    assert loaded.generation is not None, loaded.findings
    return loaded.generation


def test_the_digest_names_the_generation(folder: Path) -> None:
    """The digest changes with every name and every byte, and with nothing else."""
    path = folder / "p.toml"
    path.write_text(policy(ISSUER))
    first = generation(folder).digest
    assert generation(folder).digest == first
    path.write_text(policy(ISSUER) + "# a comment\n")
    second = generation(folder).digest
    path.rename(folder / "q.toml")
    third = generation(folder).digest
    assert len({first, second, third}) == 3
    assert len(first) == 16


@pytest.mark.parametrize("key", ["jwks_file", "ca_file"])
def test_the_digest_has_what_policies_name(folder: Path, key: str) -> None:
    """Another content of a file that a policy names is another generation, and another source of keys."""
    url = None if key == "jwks_file" else f"{ISSUER}/jwks"
    (folder / "p.toml").write_text(policy(ISSUER, jwks_url=url, **{key: "named"}))
    memory, found = Memory(), []
    for number in (0, 1, 1):
        keys = json.dumps(Issuer(ISSUER, numbers=[number]).jwks()).encode()
        (folder / "named").write_bytes(keys if key == "jwks_file" else AUTHORITIES[number].pem)
        found.append(generation(folder, memory))
    first, second, third = found
    assert (first.digest == second.digest, second.digest == third.digest) == (False, True)
    assert first.policies[0].source != second.policies[0].source
    assert second.policies[0].source == third.policies[0].source
