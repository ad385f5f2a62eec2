"""`tailsts explain`, offline: each check of each policy of the issuer, and the verdict, for people and for programs."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from fakes.issuer import Issuer
from fakes.leaks import note_text
from fakes.policies import policy
from fakes.service import run

ALLOWED, DENIED, USAGE, CANNOT_TELL = 0, 1, 2, 3
ISSUER = Issuer("https://issuer.example")
SCOPE = ("--scope", "dns:read")
ALLOWED_BY_INFRA = "allowed by policy infra: scopes dns:read, tailnet default"


@pytest.fixture
def infra(folder: Path) -> Path:
    """Return a folder with the usual policy."""
    (folder / "infra.toml").write_text(policy(ISSUER.url))
    return folder


def explain(
    folder: Path,
    *options: str,
    given: str | None = None,
    scope: tuple[str, ...] = SCOPE,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command for policies in a folder. What it prints may hold no secret."""
    done = run("explain", "--policies-dir", str(folder), *scope, *options, given=given, cwd=None, **(variables or {}))
    note_text(done.stdout)
    return done


def of_claims(
    folder: Path, claims: Mapping[str, object], *options: str, scope: tuple[str, ...] = SCOPE
) -> subprocess.CompletedProcess[str]:
    """Explain claims."""
    return explain(folder, "--claims", "-", *options, given=json.dumps(claims), scope=scope)


@pytest.mark.parametrize(
    "how", ["--token", "--token -", "a pipe", "TAILSTS_EXPLAIN_TOKEN", "--claims", "--claims -", "both"]
)
def test_where_the_token_comes_from(infra: Path, tmp_path: Path, how: str) -> None:
    """A token or its claims are in a file or come on standard input; an option counts for more than a variable."""
    token, claims = tmp_path / "token", tmp_path / "claims"
    token.write_text(f"{ISSUER.token()}\n")
    claims.write_text(json.dumps({name: ISSUER.claims()[name] for name in ("iss", "sub", "aud")}))
    options, given, variables = {
        "--token": (["--token", str(token)], None, {}),
        "--token -": (["--token", "-"], token.read_text(), {}),
        "a pipe": (["--token", "/dev/stdin"], token.read_text(), {}),
        "TAILSTS_EXPLAIN_TOKEN": ([], None, {"TAILSTS_EXPLAIN_TOKEN": str(token)}),
        "--claims": (["--claims", str(claims)], None, {}),
        "--claims -": (["--claims", "-"], claims.read_text(), {}),
        "both": (["--claims", str(claims)], None, {"TAILSTS_EXPLAIN_TOKEN": "/no/file"}),
    }[how]
    done = explain(infra, *options, given=given, variables=variables)
    assert (done.returncode, done.stderr) == (ALLOWED, "")
    assert done.stdout.splitlines()[-1] == ALLOWED_BY_INFRA


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ([], None, "give either --token or --claims"),
        (["--token", "-", "--claims", "-"], "", "give either --token or --claims"),
        (["--token", "/no/file"], None, "--token /no/file cannot be read: No such file or directory"),
        (["--token", "-"], "x" * 70_000, "--token - is too large"),
        (["--claims", "-"], '{"iss":\n}', "--claims: not JSON: line 2, column 1"),
        (["--claims", "-"], '{"a": 1, "a": 2}', "--claims: "),
        (["--claims", "-"], "[]", "--claims: not a JSON object"),
        (
            ["--claims", "-", "--online"],
            "{}",
            "--online verifies a signature, which --claims has not: give the --token",
        ),
        (["--decision", "0" * 20], None, "--decision needs --audit-log, the file to look in"),
        (["--decision", "x", "--audit-log", "x"], None, "a decision id has 20 hexadecimal digits"),
        (["--token", "-", "--config", "/no/file"], ISSUER.token(), "--config /no/file cannot be read: "),
    ],
)
def test_wrong_calls(infra: Path, options: list[str], given: str | None, expected: str) -> None:
    """What was called wrongly is exit 2, one line says why, and nothing is explained."""
    done = explain(infra, *options, given=given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (USAGE, "", 1)
    assert done.stderr.startswith(f"tailsts: error: {expected}")


def test_a_scope_must_be_asked_for(infra: Path) -> None:
    """Without a scope there is nothing to explain; they are repeated, or separated by commas and blanks."""
    done = explain(infra, "--claims", "-", given="{}", scope=())
    assert (done.returncode, done.stderr) == (USAGE, "tailsts: error: no scope is asked for: --scope or SCOPES\n")
    done = of_claims(infra, ISSUER.claims(), scope=("--scope", "dns:read, policy_file", "--scope", "dns:read"))
    assert done.stdout.splitlines()[-1] == "allowed by policy infra: scopes dns:read policy_file, tailnet default"


@pytest.mark.parametrize("options", [["TOKEN"], ["--token", "TOKEN"], ["--claims", "TOKEN"], ["--tokn=TOKEN"]])
def test_wrong_calls_do_not_repeat_the_token(infra: Path, options: list[str]) -> None:
    """However it is called wrongly, the token is not repeated."""
    token = ISSUER.token()
    done = explain(infra, *(option.replace("TOKEN", token) for option in options))
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert token.rpartition(".")[2] not in done.stderr


@pytest.mark.parametrize("token", ["x", "é", ISSUER.token()[:60], "{}"])
def test_no_token(infra: Path, token: str) -> None:
    """What is no token is denied, with the reason of the audit log, in each format."""
    done = explain(infra, "--token", "-", given=token)
    assert (done.returncode, done.stderr) == (DENIED, "")
    assert done.stdout == "not believed: malformed_token: not three parts of base64url\n"
    done = explain(infra, "--token", "-", "--format", "json", given=token)
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (DENIED, "malformed_token")


def test_policies_that_do_not_load(infra: Path) -> None:
    """With policies that the server would not take there is nothing to explain: every fault; and it is no denial."""
    (infra / "second.toml").write_text("issuer = 1\n")
    done = of_claims(infra, ISSUER.claims())
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert f"tailsts: error: {infra}/second.toml:1: fault: issuer is a number" in done.stderr
    assert of_claims(infra / "none", {}).returncode == USAGE


GITHUB = "https://token.actions.githubusercontent.com"
MAIN = "repo:acme/infra:ref:refs/heads/main"

HINTS: dict[str, tuple[dict[str, object], str, dict[str, object], str]] = {
    "slash": ({"audience": "https://sts/"}, "", {"aud": "https://sts"}, "they differ by a slash at the end"),
    "immutable subject": ({}, "", {"sub": "repo:acme@7/infra@9:ref:refs/heads/main"}, 'pin repository_id = "9"'),
    "type": ({}, 'repository_id = "9"', {"repository_id": 9}, "same text, other type: the policy has a string"),
    "list": (
        {},
        'groups = "a"',
        {"groups": ["a"]},
        'the claim is a list: write a condition, like "x" in claims.groups',
    ),
    "case": ({}, "", {"sub": MAIN.upper()}, "they differ by case"),
    "another service": ({}, "", {"aud": "sts.amazonaws.com"}, "the token was made for another service (AWS STS)"),
    "expired": ({}, "", {"iat": 1, "exp": 100}, "expired "),
    "missing": ({}, 'ref = "x"', {"REF": "x"}, 'the token has "REF"'),
    "environment": ({"subject": "repo:acme/infra:environment:prod"}, "", {}, "the job names no environment"),
    "issuer": ({}, "", {"iss": f"{GITHUB}/"}, "they differ by a slash at the end"),
}


@pytest.mark.parametrize("name", HINTS)
def test_hints(folder: Path, name: str) -> None:
    """What probably went wrong is said, once."""
    keys, table, claims, expected = HINTS[name]
    (folder / "infra.toml").write_text(policy(GITHUB, jwks_url=None, **keys) + f"[claims]\n{table}\n" * bool(table))
    done = of_claims(folder, {"iss": GITHUB, "sub": MAIN, "aud": "https://sts.example.com", **claims})
    assert (done.returncode, done.stderr) == (DENIED, "")
    hints = [line.strip() for line in done.stdout.splitlines() if line.lstrip().startswith("hint:")]
    assert (len(hints), expected in hints[0]) == (1, True), done.stdout


def test_the_nearest_policy_first(infra: Path) -> None:
    """Of several policies, the one that got furthest comes first; expected and actual stand side by side."""
    (infra / "aaa.toml").write_text(policy(ISSUER.url, subject="x", audience="y"))
    (infra / "bbb.toml").write_text(policy(ISSUER.url, audience="y"))
    (infra / "ccc.toml").write_text(policy("https://other.example"))
    done = of_claims(infra, ISSUER.claims(), scope=("--scope", "users"))
    heads = [line for line in done.stdout.splitlines() if line.startswith("policy ")]
    assert heads == ["policy infra: no", "policy bbb: no", "policy aaa: no"]
    assert '  NO subject         expected "x"\n                     actual   ' in done.stdout
    assert done.stdout.splitlines()[-1] == "denied: scope_not_allowed, nearest policy infra"


def test_the_policy_and_the_tags_that_are_asked_for(infra: Path) -> None:
    """--policy has that one explained alone, and --tag is judged with the rest."""
    tagged = policy(ISSUER.url, allowed_scopes=["auth_keys"], allowed_tags=["tag:ci"])
    (infra / "tagged.toml").write_text(tagged)
    keys = ("--scope", "auth_keys")
    done = of_claims(infra, ISSUER.claims(), "--policy", "tagged", "--tag", "tag:ci", scope=keys)
    assert done.stdout.splitlines()[-1] == ("allowed by policy tagged: scopes auth_keys, tags tag:ci, tailnet default")
    assert "policy infra" not in done.stdout
    done = of_claims(infra, ISSUER.claims(), "--tag", "tag:prod", scope=keys)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (DENIED, "denied: tag_not_allowed, nearest policy tagged")
    done = of_claims(infra, ISSUER.claims(), "--policy", "none")
    hint = '  hint: no policy is called "none"; for this issuer there are: infra, tagged\n'
    assert (done.returncode, done.stdout) == (DENIED, f"denied: policy_not_allowed\n{hint}")


def test_a_signature_is_said_to_be_assumed(infra: Path) -> None:
    """Offline, the first line says that the signature was not verified; claims alone have none."""
    first, blank, *_ = explain(infra, "--token", "-", given=ISSUER.token()).stdout.splitlines()
    assert (first, blank) == ("signature: not verified here (--online does)", "")
    said = json.loads(explain(infra, "--token", "-", "--format", "json", given=ISSUER.token()).stdout)
    assert (said["allowed"], said["signature"]) == (True, "not verified")
    assert "signature" not in of_claims(infra, ISSUER.claims()).stdout


def test_as_json(infra: Path) -> None:
    """--format json is one object: the verdict, and each check of each policy."""
    done = of_claims(infra, ISSUER.claims(sub="x"), "--format", "json")
    said = json.loads(done.stdout)
    (only,) = said.pop("policies")
    assert said == {
        "allowed": False,
        "reason": "subject_not_allowed",
        "policy": "infra",
        "if_opa_agrees": False,
        "scopes": [],
        "tags": [],
        "tailnet": None,
        "or_else": None,
        "not_judged": {},
        "detail": "",
        "message": "",
        "hint": "",
        "would_refuse": None,
        "under": [],
        "signature": None,
    }
    assert only["checks"][0] == {
        "check": "subject",
        "held": False,
        "key": "subject",
        "expected": f'"{MAIN}"',
        "actual": '"x"',
    }
    assert [check["held"] for check in only["checks"]] == [False, *[True] * (len(only["checks"]) - 1)]


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_l01_nothing_of_the_signature(infra: Path, output_format: str) -> None:
    """L-01: neither the token nor its signature is shown."""
    token = ISSUER.token(sub="x")
    done = explain(infra, "--token", "-", "--format", output_format, given=token)
    assert done.returncode == DENIED
    assert not [part for part in token.split(".") if part in done.stdout + done.stderr]


HOSTILE = "\x1b[2J\x1b]0;x\x07a\nallowed by policy infra\r\x7f\u2028\u202e\x85\ud83d"


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_l02_claims_do_not_steer_the_terminal(infra: Path, output_format: str) -> None:
    """L-02: whatever claims hold, each line shows it escaped, and there are no more lines than otherwise."""
    text = HOSTILE.removesuffix("\ud83d")
    shown = [
        of_claims(infra, ISSUER.claims(sub=subject, aud=subject), "--format", output_format).stdout
        for subject in ("x", text)
    ]
    assert "\\u001b[2J" in shown[1] or "\\x1b[2J" in shown[1]
    assert all(line.isprintable() for line in shown[1].split("\n"))
    assert shown[0].count("\n") == shown[1].count("\n")
    done = of_claims(infra, ISSUER.claims(iss=text))
    assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))


def test_what_the_server_adds(folder: Path, tmp_path: Path) -> None:
    """--audience and --config stand for what the server is given: audiences, tailnets, trusted issuers."""
    (folder / "infra.toml").write_text(policy(ISSUER.url, audience=None, tailnet="prod"))
    config = tmp_path / "tailsts.toml"
    tailnet = '[tailnets.prod]\nclient_id = "k"\nclient_secret = "${NOT_SET_HERE}"\n'
    last = {}
    for mode, issuers in (("enforce", "other"), ("audit", "other"), ("enforce", "issuer")):
        listed = f'[trusted_issuers]\nmode = "{mode}"\nissuers = ["https://{issuers}.example"]\n'
        config.write_text(tailnet + listed)
        done = of_claims(folder, ISSUER.claims(), "--config", str(config), "--audience", "https://sts.example.com")
        last[mode, issuers] = done.returncode, done.stdout.splitlines()[-1]
    allowed = (ALLOWED, "allowed by policy infra: scopes dns:read, tailnet prod")
    refused = (DENIED, "not believed: untrusted_issuer: the issuer is not among the trusted ones")
    assert last == {("enforce", "other"): refused, ("audit", "other"): allowed, ("enforce", "issuer"): allowed}
    listed = '[trusted_issuers]\nmode = "audit"\nissuers = ["https://other.example"]\n'
    config.write_text(tailnet + listed)
    options = ("--config", str(config), "--audience", "https://sts.example.com")
    said = "allow-list: untrusted_issuer, but it only watches (mode audit): the event has would_refuse"
    assert said in of_claims(folder, ISSUER.claims(), *options).stdout.splitlines()
    value = json.loads(of_claims(folder, ISSUER.claims(), *options, "--format", "json").stdout)
    assert (value["allowed"], value["would_refuse"]) == (True, "untrusted_issuer")
    config.write_text("[trusted_issuers]\n")
    assert of_claims(folder, {}, "--config", str(config)).returncode == USAGE


def test_an_open_policy_agent_is_not_asked(folder: Path) -> None:
    """Where an Open Policy Agent must agree, that is said; it is not asked, so that it cannot be told."""
    (folder / "infra.toml").write_text(policy(ISSUER.url) + '[opa]\nurl = "http://127.0.0.1:9/v1/data/allow"\n')
    done = of_claims(folder, ISSUER.claims())
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        CANNOT_TELL,
        "allowed by policy infra, if the Open Policy Agent at http://127.0.0.1:9/v1/data/allow says true",
    )
