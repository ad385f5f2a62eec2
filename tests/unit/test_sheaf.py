"""Policy files where they lie: in a folder, or in a commit of a repository."""

import json
import os
from pathlib import Path

import pytest

from fakes.issuer import Issuer
from fakes.policies import policy
from tailsts.errors import FileError
from tailsts.oidc.source import Discovery, JwksFile, JwksText, JwksUrl
from tailsts.policy.finding import Severity
from tailsts.policy.places.sheaf import (
    MAX_NAMED_FILE_BYTES,
    MAX_POLICY_BYTES,
    File,
    is_policy_file,
    of_commit,
    place_fault,
    place_warning,
    read_folder,
)
from tailsts.policy.store import Options, compile_sheaf

ISSUER = "https://issuer.example.com"
COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
KEYS = json.dumps(Issuer(ISSUER).jwks()).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.toml", True),
        ("a.b.toml", True),
        ("a.test.toml", False),
        ("test.toml", True),
        (".a.toml", False),
        ("a.toml~", False),
        ("a.TOML", False),
        (".toml", False),
        (".test.toml", False),
    ],
)
def test_p16_what_is_a_policy(name: str, expected: bool) -> None:
    """P-16: a policy is a *.toml file that is neither hidden nor a test."""
    assert is_policy_file(name) is expected


def test_tests_are_never_read_as_policies(folder: Path) -> None:
    """A test beside a policy is no policy, in a folder and in a commit."""
    (folder / "p.toml").write_text("1")
    (folder / "p.test.toml").write_text("2")
    assert [file.name for file in read_folder(folder).files] == ["p"]
    assert [file.name for file in of_commit("x", COMMIT, {"p.toml": b"1", "p.test.toml": b"2"}).files] == ["p"]


def test_a_folder(folder: Path) -> None:
    """The files of a folder are read whole, by name; what cannot be read has the reason in place of its bytes."""
    (folder / "b.toml").write_bytes(b"b")
    (folder / "a.toml").write_bytes(b"x" * (MAX_POLICY_BYTES + 1))
    (folder / "keys.json").write_bytes(KEYS)
    sheaf = read_folder(folder)
    assert list(sheaf.files) == [
        File("a", str(folder / "a.toml"), b"", f"is larger than {MAX_POLICY_BYTES} bytes"),
        File("b", str(folder / "b.toml"), b"b"),
    ]
    assert (sheaf.place, list(sheaf.findings), sheaf.commit) == (str(folder), [], None)
    assert sheaf.named("keys.json") == KEYS
    assert sheaf.key_file("keys.json") == JwksFile(folder / "keys.json")
    with pytest.raises(FileError, match="cannot be read: No such file"):
        sheaf.named("none")


def test_a_folder_that_everybody_may_change(folder: Path) -> None:
    """P-16: a folder in which everybody can replace files is at fault; with the sticky bit nobody can."""
    (folder / "a.toml").write_bytes(b"b")
    folder.chmod(0o777)
    (found,) = read_folder(folder).findings
    assert (found.severity, found.code) == (Severity.FAULT, "folder")
    folder.chmod(0o1777)
    assert list(read_folder(folder).findings) == []
    folder.chmod(0o755)


def test_no_folder(tmp_path: Path) -> None:
    """A folder that cannot be read is one finding, and no file."""
    sheaf = read_folder(tmp_path / "none\n")
    assert list(sheaf.files) == []
    assert [found.message for found in sheaf.findings] == ["cannot be read: No such file or directory"]
    assert sheaf.place.isprintable()


def test_a_commit() -> None:
    """The policies of a commit are its *.toml files directly at their path, by name; the commit names them."""
    files = {
        "b.toml": b"b",
        "a.toml": b"x" * (MAX_POLICY_BYTES + 1),
        "deeper/c.toml": b"c",
        ".d.toml": b"d",
        "README.md": b"e",
        "f\n.toml": b"f",
    }
    sheaf = of_commit("https://git.example.com/x main", COMMIT, files)
    assert list(sheaf.files) == [
        File("a", "a.toml", files["a.toml"], f"is larger than {MAX_POLICY_BYTES} bytes"),
        File("b", "b.toml", b"b"),
        File("f\n", "'f\\n.toml'", b"f"),
    ]
    assert (sheaf.place, list(sheaf.findings), sheaf.commit) == ("https://git.example.com/x main", [], COMMIT)


def test_what_a_commits_policy_names() -> None:
    """A file that a policy of a commit names is one of the commit, and nothing of this machine."""
    sheaf = of_commit("x", COMMIT, {"keys/a.json": KEYS, "huge": b"x" * (MAX_NAMED_FILE_BYTES + 1)})
    assert sheaf.named("keys/a.json") == sheaf.named("./keys//a.json") == KEYS
    assert sheaf.key_file("keys/a.json") == JwksText("keys/a.json", KEYS)
    for name in ("none.json", "/etc/hostname", "../keys/a.json", "keys/../keys/a.json", os.devnull):
        with pytest.raises(FileError, match="is not in the repository, in or below the folder of the policies"):
            sheaf.named(name)
    with pytest.raises(FileError, match=f"is larger than {MAX_NAMED_FILE_BYTES} bytes"):
        sheaf.named("huge")


def test_what_is_no_file_of_a_commit() -> None:
    """What is passed over is said, if it is named like a policy; and if a policy names it, that is the reason."""
    others = {"b.toml": "is a link", "b.test.toml": "is a link", "keys/c.toml": "is a link", "k.json": "is a link"}
    sheaf = of_commit("x", COMMIT, {"a.toml": b"1"}, others)
    assert [str(found) for found in sheaf.findings] == [
        "b.toml: security: is a link, and is not read (put a file in its place) [passed-over]"
    ]
    with pytest.raises(FileError, match="is a link, and is not read"):
        sheaf.named("./k.json")


def test_a_generation_of_a_commit() -> None:
    """A commit's policies are a generation that is named by the commit, with keys from the commit where one says so."""
    files = {
        "a.toml": policy(ISSUER, jwks_url=None, jwks_file="keys/a.json").encode(),
        "b.toml": policy(ISSUER).encode(),
        "c.toml": policy(ISSUER, jwks_url=None).encode(),
        "keys/a.json": KEYS,
    }
    loaded = compile_sheaf(of_commit("x", COMMIT, files), Options())
    assert loaded.generation is not None
    assert loaded.generation.digest == COMMIT
    assert [each.source for each in loaded.generation.policies] == [
        JwksText("keys/a.json", KEYS),
        JwksUrl(f"{ISSUER}/jwks"),
        Discovery(),
    ]


@pytest.mark.parametrize("keys", [None, b"<html>", b'{"keys": []}'])
def test_a_commit_without_the_keys_that_it_names(keys: bytes | None) -> None:
    """A policy whose keys are not in the commit, or are none, is a fault, and there is no generation."""
    files = {"a.toml": policy(ISSUER, jwks_url=None, jwks_file="a.json").encode()}
    loaded = compile_sheaf(of_commit("x", COMMIT, files if keys is None else {**files, "a.json": keys}), Options())
    assert loaded.generation is None
    assert [(found.code, found.path) for found in loaded.findings if found.severity is Severity.FAULT] == [
        ("named-file", "jwks_file")
    ]


def test_findings_about_a_place() -> None:
    """What is said of a whole folder or repository has no line."""
    assert str(place_fault("here", "is gone")) == "here: fault: is gone [folder]"
    assert str(place_warning("here", "is far")) == "here: security: is far [place]"


def test_a_link_that_leads_nowhere(folder: Path) -> None:
    """A file that is gone when it is read is its own fault, not the folder's."""
    (folder / "gone.toml").symlink_to(folder / "nowhere.toml")
    sheaf = read_folder(folder)
    assert sheaf.findings == []
    assert [file.fault for file in sheaf.files if file.name == "gone"] == ["cannot be read: No such file or directory"]
