"""`tailsts test`: the tests of a folder's policies, through the evaluator of the server."""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET  # what our own program wrote

import pytest

from fakes.issuer import FakeIssuer
from fakes.leaks import note_text
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import FakeTailscale

ISSUER = "https://issuer.example"
CLAIMS = (
    f'claims = {{iss = "{ISSUER}", sub = "repo:acme/infra:ref:refs/heads/main", aud = "https://sts.example.com"}}\n'
)
ALLOW = f'[[test]]\nname = "main"\n{CLAIMS}scopes = ["dns:read"]\nexpect = "allow"\npolicy = "infra"\n'
DENY = (
    '[[test]]\nname = "a wider scope"\n'
    f'{CLAIMS}scopes = ["dns"]\nexpect = "deny"\npolicy = "infra"\nreason = "scope_not_allowed"\n'
)

EXPLAIN = ("explain", "--claims", "-", "--scope", "dns", "--policies-dir", "FILE")


@pytest.fixture
def infra(folder: Path) -> Path:
    """Return a folder with the usual policy."""
    (folder / "infra.toml").write_text(policy(ISSUER, jwks_url=None))
    return folder


def trial(folder: Path, *tests: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run these tests, if there are any, of the policies in a folder."""
    if tests:
        (folder / "infra.test.toml").write_text("\n".join(tests))
    done = run("test", *options, str(folder))
    note_text(done.stdout)
    return done


def test_all_pass(infra: Path) -> None:
    """Tests that pass are exit 0, a line each and a summary; DIR is "policies" unless another is named."""
    done = trial(infra, ALLOW, DENY)
    expected = "ok   main\nok   a wider scope\n2 passed, 0 failed; policies: 1\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    assert run("test", cwd=infra.parent).stdout == expected
    assert run("test", POLICIES_DIR=str(infra)).stdout == expected


def test_the_same_name_in_two_files(infra: Path) -> None:
    """Tests of several files that have the same name say which file they are in."""
    (infra / "more.test.toml").write_text(ALLOW)
    done = trial(infra, ALLOW, DENY)
    passed = [f"ok   main ({infra}/infra.test.toml)", "ok   a wider scope", f"ok   main ({infra}/more.test.toml)"]
    assert done.stdout.splitlines()[:-1] == passed


def test_a_file_in_place_of_the_folder(infra: Path) -> None:
    """Whoever names a policy's file is told to name its folder, by each command that takes one."""
    file = infra / "infra.toml"
    for words in (("test", str(file)), ("check", str(file)), EXPLAIN):
        done = run(*(word.replace("FILE", str(file)) for word in words), given="{}")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"tailsts: error: {file} is a file: give the folder that it is in, {infra}\n"


def test_one_fails(infra: Path) -> None:
    """A test that fails is exit 1, and shows where it is, what was expected, and the explanation."""
    done = trial(infra, ALLOW, DENY.replace('"dns"', '"dns:read"'), ALLOW.replace('"dns:read"', '"users"'))
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "ok   main",
        f"FAIL a wider scope ({infra}/infra.test.toml:8)",
        "     expected a denial, but policy infra allows it",
    ]
    assert "     expected it to be allowed, but it is denied: scope_not_allowed" in lines
    assert "         NO allowed_scopes  expected within devices:core:read, dns:read, policy_file" in lines
    assert "       denied: scope_not_allowed, nearest policy infra" in lines
    assert lines[-1] == "1 passed, 2 failed; policies: 1"


@pytest.mark.parametrize(("tests", "gap"), [((ALLOW,), "denies"), ((DENY,), "allows"), ((ALLOW, DENY), None)])
@pytest.mark.parametrize("output_format", ["text", "junit"])
def test_complete(infra: Path, tests: tuple[str, ...], gap: str | None, output_format: str) -> None:
    """Policies that no test allows, or none denies, are told; with --complete they are exit 1, whatever the format."""
    done = trial(infra, *tests, options=("--format", output_format))
    assert done.returncode == 0
    done = trial(infra, options=("--complete", "--format", output_format))
    assert done.returncode == (0 if gap is None else 1)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("policy ")]
    assert told == ([] if gap is None else [f"policy infra: no test that it {gap}"])


def test_no_tests(infra: Path) -> None:
    """Without any test there is nothing to rely on: exit 1; what is hidden is no test."""
    (infra / ".#infra.test.toml").write_text(ALLOW)
    done = trial(infra)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        "0 passed, 0 failed; policies: 1",
        "there is no test: write one into NAME.test.toml beside the policies",
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[[test]\n", 1, "not TOML"),
        (f"{ALLOW}{DENY.replace('expect', 'expects')}", 7, "expect is missing"),
        (ALLOW.replace("claims =", 'fixture = "nobody"\nclaims ='), 1, "fixture"),
        (ALLOW.replace(CLAIMS, 'claims_file = "none.json"\n'), 1, "claims_file cannot be read"),
        (ALLOW.replace(CLAIMS, 'claims_file = "."\n'), 1, "claims_file is not a regular file"),
        (ALLOW.replace(CLAIMS, "claims = {exp = 2026-01-01T00:00:00Z}\n"), 1, "claims holds a date"),
        ("test = 1\n", 1, "test is a number"),
        (ALLOW.replace('"allow"', '"denied"'), 1, 'neither "allow" nor "deny" (did you mean "deny"?)'),
        (ALLOW.replace('"allow"', '"granted"'), 1, 'neither "allow" nor "deny" (did you mean "allow"?)'),
        (ALLOW.replace('"allow"', '"refused"'), 1, 'neither "allow" nor "deny" (did you mean "deny"?)'),
        (ALLOW.replace('"allow"', '"x"'), 1, 'neither "allow" nor "deny" [expect]'),
    ],
)
def test_a_broken_file_of_tests(infra: Path, text: str, line: int, said: str) -> None:
    """A file of tests that cannot be read whole is exit 1 with file, line and key; none of its tests runs."""
    done = trial(infra, text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{infra}/infra.test.toml:{line}: fault: ")
    assert said in done.stderr


def test_policies_that_do_not_load(infra: Path) -> None:
    """Without policies that load, no test can run: exit 1, and their faults."""
    (infra / "second.toml").write_text("issuer = 1\n")
    done = trial(infra, ALLOW)
    assert (done.returncode, done.stdout) == (1, "")
    assert "second.toml:1: fault: issuer is a number" in done.stderr


def test_where_claims_come_from(infra: Path) -> None:
    """Claims are in the test, in a file beside it, or those of a fixture, with the test's own put over them."""
    (infra / "claims").mkdir()
    claims = {"iss": ISSUER, "sub": "x", "aud": "https://sts.example.com"}
    (infra / "claims" / "main.json").write_text(json.dumps(claims))
    (infra / "github.toml").write_text(
        policy("https://token.actions.githubusercontent.com", subject=None, jwks_url=None)
        + '[claims]\nrepository_id = "1"\n'
    )
    of_file = 'claims_file = "claims/main.json"\nclaims = {sub = "repo:acme/infra:ref:refs/heads/main"}\n'
    of_fixture = 'fixture = "github"\nclaims = {repository_id = "1", aud = "https://sts.example.com"}\n'
    done = trial(
        infra,
        ALLOW.replace(CLAIMS, of_file),
        ALLOW.replace(CLAIMS, of_fixture).replace('"infra"', '"github"'),
        DENY.replace(CLAIMS, 'claims_file = "claims/main.json"\n').replace("scope_not", "subject_not"),
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "3 passed, 0 failed; policies: 2"), done.stdout


def test_what_else_a_test_can_say(infra: Path) -> None:
    """The time, what an Open Policy Agent says, tags, and the policy that is asked for can be told."""
    period = "not_before = 2026-03-01T00:00:00Z\nnot_after = 2026-04-01T00:00:00Z\n"
    keys = policy(ISSUER, jwks_url=None, subject="other", allowed_scopes=["auth_keys"], allowed_tags=["tag:ci"])
    (infra / "second.toml").write_text(keys + period + '[opa]\nurl = "http://127.0.0.1:9/"\n')
    asked = (
        f'[[test]]\nname = "NAME"\nclaims = {{iss = "{ISSUER}", sub = "other", aud = "https://sts.example.com"}}\n'
        'scopes = ["auth_keys"]\ntags = ["tag:ci"]\nrequest_policy = "second"\n'
    )
    march, may = "now = 2026-03-15T12:00:00Z\n", "now = 2026-05-15T12:00:00Z\n"
    done = trial(
        infra,
        f'{asked}{march}opa = true\nexpect = "allow"\npolicy = "second"\n',
        f'{asked}{march}opa = false\nexpect = "deny"\nreason = "opa_not_allowed"\n',
        f'{asked}{may}opa = true\nexpect = "deny"\nreason = "period_not_allowed"\n',
        f'{asked}{march}opa = true\nexpect = "deny"\n'.replace("tag:ci", "tag:x"),
        f'{asked}opa = true\nexpect = "deny"\nreason = "policy_not_allowed"\n'.replace('"second"', '"none"'),
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "5 passed, 0 failed; policies: 2"), done.stdout
    done = trial(infra, f'{asked}{march}expect = "allow"\n')
    assert done.returncode == 1
    assert "policy second asks an Open Policy Agent: say opa = true or opa = false" in done.stdout


HOSTILE = '\\u001b[2J]]><x>&\\"\\n\\u0000\\u202e\\u007f\\ufffe'


def test_junit(infra: Path) -> None:
    """--format junit is well-formed XML, whatever a test is called and claims hold; it tells files, lines, failures."""
    bad = ALLOW.replace('"main"', f'"{HOSTILE}"').replace('"repo:acme/infra:ref:refs/heads/main"', f'"{HOSTILE}"')
    done = trial(infra, ALLOW, bad, options=("--format", "junit"))
    assert done.returncode == 1
    root = ET.fromstring(done.stdout)  # noqa: S314 - what our own program wrote
    assert (root.tag, [suite.attrib for suite in root]) == (
        "testsuites",
        [{"name": f"{infra}/infra.test.toml", "tests": "2", "failures": "1"}],
    )
    good, failed = root[0]
    assert (good.attrib["name"], good.attrib["line"], len(good)) == ("main", "1", 0)
    assert ']]><x>&"' in failed.attrib["name"]
    assert failed[0].attrib["message"] == "expected it to be allowed, but it is denied: subject_not_allowed"
    assert "NO subject" in (failed[0].text or "")
    assert "\x1b" not in done.stdout


def test_l02_tests_do_not_steer_the_terminal(infra: Path) -> None:
    """L-02: names and claims in a test of a pull request are shown escaped."""
    bad = ALLOW.replace('"main"', f'"{HOSTILE}"').replace('"repo:acme/infra:ref:refs/heads/main"', f'"{HOSTILE}"')
    done = trial(infra, bad)
    assert done.returncode == 1
    assert all(line.isprintable() for line in done.stdout.split("\n"))


def test_tests_are_no_policies(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """A *.test.toml is read as a policy neither by the server nor by check, not even if it looks like one."""
    wide = policy(issuer.url, subject=None, any_subject=True, allowed_scopes=["users"])
    policies = {"infra": policy(issuer.url), "wide.test": wide, "broken.test": "issuer = 1"}
    with Service(tmp_path, policies, tailscale) as service:
        service.wait_for_keys()
        assert service.exchange(issuer.token()).status == 200
        assert service.exchange(issuer.token(), ["users"]).status == 403
        assert service.readiness()["policies"] == 1
        service.write_policy("late.test", wide)
        service.reload()
        assert service.exchange(issuer.token(), ["users"]).status == 403
    done = run("check", str(tmp_path / "policies"))
    assert (done.returncode, done.stdout.splitlines()[-1].partition(";")[0]) == (0, "1 policy loads")


def test_claims_of_another_place_are_not_read(tmp_path: Path) -> None:
    """A claims_file outside of the folder, however it is named, is a fault, and nothing of it is shown."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (tmp_path / "secret.json").write_text('{"iss": "https://i.example", "sub": "kept-secret"}')
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "a.toml").write_text(policy("https://i.example"))
    for name in ("../secret.json", str(tmp_path / "secret.json"), "link.json"):
        test = f'[[test]]\nname = "t"\nclaims_file = "{name}"\nscopes = ["dns:read"]\nexpect = "deny"\n'
        (folder / "a.test.toml").write_text(test)
        done = run("test", str(folder))
        assert done.returncode == 1
        assert "is not in the folder of the policies" in done.stderr
        assert "kept-secret" not in done.stdout + done.stderr
