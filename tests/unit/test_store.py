"""A folder of policies: what is read, what is not, and that one fault is enough."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from fakes.issuer import Issuer
from fakes.policies import policy
from fakes.tls import Authority
from tailsts.oidc.source import Discovery, JwksFile, JwksUrl
from tailsts.policy.condition import AudienceAmong
from tailsts.policy.finding import Severity
from tailsts.policy.model import Generation
from tailsts.policy.store import Loaded, Memory, Options, load

ISSUER = "https://issuer.example.com"


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file as an operator would."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def of_file(path: Path) -> JwksFile:
    """Return the source of keys that this file is now."""
    content = path.read_bytes()
    return JwksFile(path, hashlib.sha256(content).hexdigest(), content)


def faults(loaded: Loaded) -> list[tuple[str, str]]:
    """Return code and message of each fault; with one, there is no generation."""
    found = [(f.code, f.message) for f in loaded.findings if f.severity is Severity.FAULT]
    assert (loaded.generation is None) == bool(found)
    return found


def generation(loaded: Loaded) -> Generation:
    """Return the generation, which must be there."""
    assert loaded.generation is not None, loaded.findings
    return loaded.generation


def test_reads_a_folder(folder: Path) -> None:
    """Policies are named after their files and ordered by name."""
    write(folder, "b.toml", policy(ISSUER))
    write(folder, "a.b.toml", policy(ISSUER))
    loaded = load(folder, Options())
    assert [found.name for found in generation(loaded).policies] == ["a.b", "b"]


def test_p16_what_is_not_read(folder: Path, tmp_path: Path) -> None:
    """P-16: dotfiles, backups, sub-folders and links that lead out of the folder are not read."""
    write(folder, "good.toml", policy(ISSUER))
    for name in (".hidden.toml", "p.toml~", "#p.toml#", ".p.toml.swp", "p.toml.bak", "p.tml", "README.md", ".DS_Store"):
        write(folder, name, "not toml at all")
    (folder / "sub").mkdir()
    write(folder / "sub", "x.toml", "not toml")
    (folder / "dir.toml").mkdir()
    outside = write(tmp_path, "outside.toml", policy(ISSUER))
    (folder / "link.toml").symlink_to(outside)
    (folder / "up.toml").symlink_to("../outside.toml")
    (folder / "dangling.toml").symlink_to("/nowhere/x.toml")
    loaded = load(folder, Options())
    assert [found.name for found in generation(loaded).policies] == ["good"]
    said = {found.file: found.message for found in loaded.findings if found.code == "passed-over"}
    leads_out = "is a link that leads out of the folder, and is not read"
    assert said == {
        f"{folder}/dangling.toml": leads_out,
        f"{folder}/dir.toml": "is a folder, and is not read",
        f"{folder}/link.toml": leads_out,
        f"{folder}/up.toml": leads_out,
    }
    strict = faults(load(folder, Options(strict=True)))
    assert [code for code, _ in strict] == ["passed-over"] * len(said)


def test_p18_nothing_but_what_is_not_read(folder: Path) -> None:
    """P-18: a folder with nothing but what is passed over is an empty folder."""
    (folder / "link.toml").symlink_to("/nowhere/x.toml")
    assert faults(load(folder, Options())) == [("folder", "holds no policy: no *.toml file directly in it")]


def test_p16_links_within_the_folder(folder: Path) -> None:
    """P-16: Kubernetes' links, which lead back into the folder, are followed."""
    data = folder / "..2026_11_23"
    data.mkdir()
    write(data, "p.toml", policy(ISSUER))
    (folder / "..data").symlink_to(data.name)
    (folder / "p.toml").symlink_to("..data/p.toml")
    assert [found.name for found in generation(load(folder, Options())).policies] == ["p"]


def test_p16_a_fifo_is_not_waited_for(folder: Path) -> None:
    """P-16: what is no regular file is a fault, at once."""
    os.mkfifo(folder / "p.toml")
    assert faults(load(folder, Options())) == [("file", "is not a regular file")]


def test_p16_a_huge_file(folder: Path) -> None:
    """P-16: a file that is no policy by its size is not read to its end."""
    with (folder / "p.toml").open("wb") as file:
        file.truncate(1024**3)
    (folder / "p.toml").chmod(0o644)
    assert faults(load(folder, Options())) == [("file", "is larger than 16384 bytes")]


def test_p16_what_anybody_may_write(folder: Path) -> None:
    """P-16: a policy that everybody on the machine could have written is nobody's decision."""
    write(folder, "p.toml", policy(ISSUER)).chmod(0o666)
    (code, message), *others = faults(load(folder, Options()))
    assert (code, others) == ("file", [])
    assert "everybody" in message


def test_encodings_and_names(folder: Path) -> None:
    """A file that is not UTF-8, or has a name that cannot be shown, is a fault, and its line is one line."""
    (folder / "latin.toml").write_bytes(b'issuer = "\xe9"')
    (folder / "a\nb.toml").write_text(policy(ISSUER))
    os.close(os.open(os.fsencode(folder) + b"/\xff.toml", os.O_CREAT | os.O_WRONLY, 0o644))
    loaded = load(folder, Options())
    assert {code for code, _ in faults(loaded)} >= {"file", "name"}
    assert all("\n" not in str(found) and str(found).encode() for found in loaded.findings)


@pytest.mark.parametrize(
    "names", [("Policy.toml", "policy.toml"), ("\uff50.toml", "p.toml"), ("stra\u00dfe.toml", "strasse.toml")]
)
def test_p15_twins(folder: Path, names: tuple[str, str]) -> None:
    """P-15: names that differ only by case or by a form of Unicode are a fault."""
    for name in names:
        write(folder, name, policy(ISSUER))
    assert [code for code, _ in faults(load(folder, Options()))] == ["name"]


def test_p18_no_policies(folder: Path) -> None:
    """P-18: an empty folder, none at all, and one that is a file are faults: never "nothing, so all may"."""
    assert faults(load(folder, Options())) == [("folder", "holds no policy: no *.toml file directly in it")]
    assert faults(load(folder / "missing", Options())) == [("folder", "cannot be read: No such file or directory")]
    assert faults(load(write(folder, "p.toml", ""), Options())) == [("folder", "cannot be read: Not a directory")]


def test_one_fault_is_enough(folder: Path) -> None:
    """A good policy beside a bad one is not loaded either, and every fault of every file is said."""
    write(folder, "good.toml", policy(ISSUER))
    write(folder, "bad.toml", policy(ISSUER, subject=""))
    write(folder, "worse.toml", "[")
    assert [code for code, _ in faults(load(folder, Options()))] == ["empty", "syntax"]


def test_sources(folder: Path, tmp_path: Path) -> None:
    """The source of the keys: discovery, a URL or a file, with a private authority where there is one."""
    pem = Authority().pem
    (tmp_path / "ca.pem").write_bytes(pem)
    (folder / "keys.json").write_text(json.dumps(Issuer(ISSUER).jwks()))
    write(folder, "a.toml", policy(ISSUER, jwks_url=None))
    write(folder, "b.toml", policy(ISSUER, ca_file="../ca.pem"))
    write(folder, "c.toml", policy(ISSUER, jwks_url=None, jwks_file="keys.json"))
    write(folder, "d.toml", policy(ISSUER, jwks_url=None, ca_file=str(tmp_path / "ca.pem"), allow_http=True))
    sources = [found.source for found in generation(load(folder, Options())).policies]
    assert sources == [
        Discovery(),
        JwksUrl(f"{ISSUER}/jwks", pem),
        of_file(folder / "keys.json"),
        Discovery(pem, allow_http=True),
    ]


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("jwks_file", None, "cannot be read: No such file or directory"),
        ("jwks_file", b"<html>", "the key set is not JSON"),
        ("jwks_file", b'{"keys": 1}', 'the key set is not an object with a list of "keys"'),
        ("ca_file", None, "cannot be read: No such file or directory"),
        ("ca_file", b"no pem", "holds no certificate (PEM), or one that cannot be read"),
    ],
)
def test_named_files(folder: Path, key: str, content: bytes | None, message: str) -> None:
    """A file that a policy names and that cannot be used is a fault of the policy."""
    if content is not None:
        (folder / "named").write_bytes(content)
    url = None if key == "jwks_file" else f"{ISSUER}/jwks"
    write(folder, "p.toml", policy(ISSUER, jwks_url=url, **{key: "named"}))
    loaded = load(folder, Options())
    assert faults(loaded) == [("named-file", message)]
    assert loaded.findings[0].path == key


def test_one_file_named_by_several(folder: Path) -> None:
    """A file that several policies name serves each of them."""
    (folder / "keys.json").write_text(json.dumps(Issuer(ISSUER).jwks()))
    for name in ("a.toml", "b.toml"):
        write(folder, name, policy(ISSUER, jwks_url=None, jwks_file="keys.json"))
    sources = [found.source for found in generation(load(folder, Options())).policies]
    assert sources == [of_file(folder / "keys.json")] * 2


def test_a_missing_folder_in_a_path(folder: Path) -> None:
    """A path through a file is no file."""
    write(folder, "x", "")
    write(folder, "p.toml", policy(ISSUER, jwks_url=None, jwks_file="x/y"))
    assert faults(load(folder, Options())) == [("named-file", "cannot be read: Not a directory")]


def test_server_audiences(folder: Path) -> None:
    """A policy without audience has the server's; one with its own keeps to that."""
    write(folder, "a.toml", policy(ISSUER, audience=None))
    write(folder, "b.toml", policy(ISSUER, audience="own"))
    loaded = generation(load(folder, Options(audiences=("x", "y"))))
    conditions = [condition for found in loaded.policies for condition in found.conditions]
    asked = [condition.audiences for condition in conditions if isinstance(condition, AudienceAmong)]
    assert asked == [{"x", "y"}, {"own"}]


def test_strict(folder: Path) -> None:
    """Under strict, security warnings are faults, and advice is still advice."""
    write(folder, "p.toml", policy(ISSUER, audience=None, allowed_scopes=["acls"]))
    loaded = load(folder, Options())
    assert [(f.severity, f.code) for f in loaded.findings] == [
        (Severity.SECURITY, "no-audience"),
        (Severity.ADVICE, "legacy-scope"),
    ]
    strict = load(folder, Options(strict=True))
    assert strict.generation is None
    assert [f.severity for f in strict.findings] == [Severity.FAULT, Severity.ADVICE]
    assert load(folder, Options(audiences=("x",), strict=True)).generation is not None


@pytest.mark.parametrize(
    ("tailnets", "known"), [({"default", "prod"}, "default, prod"), ({"default"}, "default"), (set(), "none")]
)
def test_unknown_tailnets(folder: Path, tailnets: set[str], known: str) -> None:
    """A policy for a tailnet without a credential is a fault, which names those that have one."""
    write(folder, "p.toml", policy(ISSUER, tailnet="other"))
    loaded = load(folder, Options(tailnets=frozenset(tailnets)))
    assert faults(loaded) == [("unknown-tailnet", 'is "other", of which there is no credential')]
    assert loaded.findings[0].advice.startswith(f"known: {known};")
    for options in (Options(tailnets=None), Options(tailnets=frozenset({"other"}))):
        assert generation(load(folder, options)).policies[0].tailnet == "other"


def test_ten_thousand_policies(folder: Path) -> None:
    """10,000 policies over 100 issuers load into 100 trusts, and a subject has one candidate among them."""
    for n in range(10_000):
        text = policy(f"https://issuer{n % 100}.example.com", subject=f"repo:acme/{n}:ref:refs/heads/main")
        (folder / f"p{n}.toml").write_text(text)
    loaded = generation(load(folder, Options()))
    assert len(loaded.policies) == 10_000
    assert len(loaded.trusts) == 100
    (trust,) = loaded.trusts["https://issuer7.example.com"]
    positions = trust.index.positions({"sub": "repo:acme/107:ref:refs/heads/main"})
    assert [trust.policies[position].name for position in positions] == ["p107"]


def test_what_is_not_in_force_any_more_is_let_go(folder: Path) -> None:
    """What a reload replaced is kept until it may be forgotten, and is not freed in one piece; then it is gone."""
    memory = Memory()
    write(folder, "a.toml", policy(ISSUER))
    first = generation(load(folder, Options(), memory)).policies[0]
    write(folder, "a.toml", policy(ISSUER, allowed_scopes=["dns:read"]))
    second = generation(load(folder, Options(), memory)).policies[0]
    held = sys.getrefcount(first)
    memory.forget()
    assert sys.getrefcount(first) == held - 1
    assert generation(load(folder, Options(), memory)).policies[0] is second


@pytest.mark.parametrize(
    ("keys", "path"),
    [({"single_use": True}, "single_use"), ({"rate_limit": "1/day"}, "rate_limit"), ({}, None)],
)
def test_uses_that_are_not_counted_together(folder: Path, keys: dict[str, object], path: str | None) -> None:
    """Where each worker would count alone, a policy whose uses are counted is a fault: it would be no bound."""
    write(folder, "a.toml", policy(ISSUER, **keys))
    found = load(folder, Options(counts_together=False)).findings
    said = [(finding.code, finding.path) for finding in found if finding.severity is Severity.FAULT]
    assert said == ([] if path is None else [("state", path)])
    assert generation(load(folder, Options())).policies[0].name == "a"
