"""`tailsts new`: from a token, from claims, from a description; what is written holds, and what cannot be is not."""

import json
import time
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fakes.issuer import key_pair, sign
from fakes.leaks import note_output, note_text
from tailsts.cli.check import command as check
from tailsts.cli.new import command
from tailsts.cli.test import command as trying
from tailsts.fixtures import at, fixture, names

SCOPES = ("--scope", "auth_keys", "--scope", "dns:read", "--tag", "tag:ci")
PLACEHOLDER = 'the audience "https://sts.example.com" stands for your own: say it with --audience, and ask for it'
GITHUB = ("github", "--repo", "acme/infra", "--repo-id", "1", "--owner-id", "2")
SERVICES = {
    "aws": {"issuer": "https://x.tokens.sts.global.api.aws", "role-arn": "arn:aws:iam::1:role/r", "account-id": "1"},
    "bitbucket": {"workspace": "acme", "workspace-uuid": "{1}", "repository-uuid": "{2}"},
    "buildkite": {"organization": "acme", "organization-id": "1", "pipeline": "infra", "pipeline-id": "2"},
    "circleci": {"org-id": "1", "project-id": "2", "vcs-origin": "github.com/acme/infra"},
    "entra": {"tenant-id": "1", "object-id": "2"},
    "fly": {"org": "acme", "org-id": "1", "app": "infra", "app-id": "2"},
    "github": {"repo": "acme/infra", "repo-id": "1", "owner-id": "2"},
    "gitlab": {"project": "acme/infra", "project-id": "1", "namespace-id": "2"},
    "google": {"account-id": "1"},
    "hcp-terraform": {"organization": "a", "organization-id": "org-1", "workspace": "b", "workspace-id": "ws-1"},
    "kubernetes": {"namespace": "ci", "service-account": "runner", "issuer": "https://cluster.example.com"},
    "spiffe": {"spiffe-id": "spiffe://example.org/ci", "issuer": "https://spire.example.org"},
}


def run(*words: str, given: str | bytes | None = None, **variables: str) -> Result:
    """Run the command."""
    result = CliRunner(env=variables).invoke(command, words, given, prog_name="tailsts new")
    note_text(result.output)
    return result


def token(name: str, algorithm: str = "RS256", **changes: object) -> str:
    """Return a signed token with the claims of a fixture, made now."""
    claims = {**at(fixture(name).claims, int(time.time())), **changes}
    return sign({"alg": algorithm, "kid": "k"}, json.dumps(claims).encode(), key_pair(algorithm))


def assert_good(folder: Path) -> None:
    """Assert that the server would load the folder strictly, that its tests pass, and that they are complete."""
    note_output(folder)
    for judging, options in ((check, ["--strict"]), (trying, ["--complete"])):
        done = CliRunner().invoke(judging, [str(folder), *options])
        assert done.exit_code == 0, done.output


def only_line(done: Result) -> str:
    """Return the one line on standard error of a call that was refused, with nothing on standard output."""
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("tailsts: error: ")


@pytest.mark.parametrize("name", names())
def test_from_a_token(tmp_path: Path, name: str) -> None:
    """From a token of each issuer: a strict policy, and tests that pass. Nothing of the token is shown or kept."""
    secret = token(name)
    done = run("--from-token", "-", *SCOPES, "--out", str(tmp_path), given=f"{secret}\n")
    assert (done.exit_code, done.stdout) == (0, "")
    assert_good(tmp_path)
    said = done.stderr + "".join(path.read_text() for path in tmp_path.iterdir())
    assert not any(part in said for part in secret.split("."))


def test_from_a_token_in_a_file(tmp_path: Path) -> None:
    """The token may be in a file; how it is signed is written down where that is not the usual way."""
    file = tmp_path / "token.jwt"
    file.write_text(token("spiffe", "ES256"))
    done = run("--from-token", str(file), "--scope", "dns")
    assert (done.exit_code, done.stderr) == (0, "")
    assert 'algorithm = "ES256"' in done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_from_a_description(tmp_path: Path, service: str) -> None:
    """For a workload of each service that is described: a policy that is strict, and tests that pass."""
    words = [word for name, value in SERVICES[service].items() for word in (f"--{name}", value)]
    done = run(service, *words, *SCOPES, "--audience", "https://sts.acme.example", "--out", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "")
    assert_good(tmp_path)


def test_every_service_is_tested() -> None:
    """Each sub-command has its example above, and each option its variable and help."""
    assert isinstance(command, click.Group)
    assert command.commands.keys() == SERVICES.keys()
    for service in command.commands.values():
        for option in service.params:
            assert isinstance(option, click.Option)
            assert option.envvar, option.opts
            assert option.show_envvar, option.opts
            assert option.help, option.opts
        assert len({option.name for option in service.params}) == len(service.params)
        assert len({str(option.envvar) for option in service.params}) == len(service.params)


def test_from_claims_to_standard_output() -> None:
    """Without --out both texts are shown, each after a line with its file's name."""
    done = run("--claims", "-", *SCOPES, "--name", "p", given=json.dumps(fixture("github").claims))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("# p.toml\n#:schema ./policy.schema.json\n")
    policy, tests = done.stdout.split("\n# p.test.toml\n")
    assert tomllib.loads(policy)["claims"]["repository_id"] == "456789"
    assert [test["expect"] for test in tomllib.loads(tests)["test"]] == ["allow", *["deny"] * 4]


def test_variables() -> None:
    """What can be an option can be in the environment."""
    variables = {
        f"TAILSTS_NEW_GITHUB_{key}": value for key, value in (("REPO", "a/b"), ("REPO_ID", "1"), ("OWNER_ID", "2"))
    }
    done = run("github", "--schema", "", TAILSTS_NEW_SCOPE="dns,users:read", TAILSTS_NEW_NAME="p", **variables)
    assert (done.exit_code, done.stdout.splitlines()[1][:9]) == (0, "# Made by")
    assert 'allowed_scopes = ["dns", "users:read"]' in done.stdout


def test_a_placeholder_is_told(tmp_path: Path) -> None:
    """Where no audience is known, a placeholder is written, and whoever asked is told."""
    done = run(*GITHUB, *SCOPES, "--out", str(tmp_path))
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        f"tailsts: note: {PLACEHOLDER}",
        f"tailsts: wrote {tmp_path}/acme-infra-main.test.toml",
        f"tailsts: wrote {tmp_path}/acme-infra-main.toml",
    ]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A file that is there stays as it is, unless --force is given; then both are new."""
    folder = tmp_path / "new" / "policies"
    words = (*GITHUB, *SCOPES, "--audience", "a", "--out", str(folder))
    assert run(*words).exit_code == 0
    policy = folder / "acme-infra-main.toml"
    policy.write_text("mine")
    assert (
        only_line(run(*words))
        == f"{folder}/acme-infra-main.test.toml is there: --force writes over it, --name takes another name"
    )
    assert policy.read_text() == "mine"
    assert run(*words, "--name", "second").exit_code == 0
    assert run(*words, "--force").exit_code == 0
    assert policy.read_text() == (folder / "second.toml").read_text().replace("second", "acme-infra-main")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A folder that cannot be made is said, without a trace."""
    (tmp_path / "file").write_text("")
    words = (*GITHUB, *SCOPES, "--audience", "a", "--out", str(tmp_path / "file" / "x"))
    assert only_line(run(*words)) == f"--out {tmp_path}/file/x: Not a directory"


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        ((), None, "give either --from-token or --claims, or a service: see tailsts new --help"),
        (("--from-token", "-", "--claims", "-"), None, "give either --from-token or --claims, or a service"),
        (("--scope", "dns", *GITHUB), None, "--scope stands before the name of the service: write it after it"),
        (("--claims", "-", "--scope", "dns"), '{"iss": "https://i"}', "it has no sub, so no policy can allow it"),
        (("--claims", "-", "--scope", "dns"), "[]", "--claims: not a JSON object"),
        (("--claims", "-", "--scope", "dns"), '{"a":1,"a":1}', "--claims: JSON with duplicate member names"),
        (("--claims", "/none", "--scope", "dns"), None, "--claims /none cannot be read: No such file or directory"),
        (("--claims", "-", "--scope", "dns"), "x" * 70_000, "--claims - is too large"),
        (GITHUB, None, "no scope is named that may be asked for: --scope"),
        ((*GITHUB, "--scope", "auth_keys"), None, "auth_keys goes with tags; without any, tokens get every tag"),
        ((*GITHUB, "--scope", "dns", "--name", "../x"), None, "--name '../x' cannot be a policy's"),
        (
            (*GITHUB, "--scope", "dns", "--name", "x.test"),
            None,
            "--name 'x.test' cannot be a policy's: files that end in",
        ),
        ((*GITHUB, "--scope", "dns", "--name", "x.toml"), None, "--name 'x.toml' is that of a file: leave .toml out"),
        ((*GITHUB, "--scope", "dns", "--ref", "refs/x"), None, "--ref 'refs/x' cannot be: it is like refs/heads/main"),
        (("--claims", "-", "--scope", "dns"), '{\n"a": b}', "--claims: not JSON: line 2, column 6"),
        (("--claims", "-", "--scope", "dns"), b"\xff", "--claims: not UTF-8"),
        ((*GITHUB, "--scope", "dns", "--schema", "a\nb"), None, "--schema holds characters that cannot be shown"),
        ((*GITHUB, "--scope", "a\\b"), None, "fault: allowed_scopes"),
        ((*GITHUB, "--scope", "dns", "--issuer", "x"), None, "fault: issuer cannot be used"),
    ],
)
def test_wrong_calls(words: tuple[str, ...], given: str | bytes | None, said: str) -> None:
    """What cannot be done is one line on standard error and exit 2."""
    assert only_line(run(*words, given=given)).startswith(said)


def test_all_that_is_missing_is_said_at_once() -> None:
    """What a description lacks is said in one go, with where to find it."""
    done = run("github", "--repo", "acme/infra")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "tailsts: error: --repo-id is missing. Its id: gh api repos/OWNER/NAME --jq .id",
        "tailsts: error: --owner-id is missing. Its owner's id: gh api repos/OWNER/NAME --jq .owner.id",
        "tailsts: error: the ids are said by: gh api repos/acme/infra --jq '.id, .owner.id'",
        "tailsts: error: no scope is named that may be asked for: --scope",
    ]
    for service in SERVICES:
        done = run(service, "--scope", "dns")
        assert done.exit_code == 2
        assert all(" is missing. " in line or "the ids are" in line for line in done.stderr.splitlines()), service


def test_a_name_in_place_of_an_id() -> None:
    """A repository without its owner, and ids that are none, are refused together."""
    done = run("github", "--repo", "acme", "--repo-id", "infra", "--owner-id", "acme", "--scope", "dns")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "tailsts: error: --repo 'acme' cannot be: it is like acme/infra",
        "tailsts: error: --repo-id 'infra' cannot be: it is like 456789",
        "tailsts: error: --owner-id 'acme' cannot be: it is like 123456",
    ]


@pytest.mark.parametrize(
    ("ref", "meant"), [("main", "refs/heads/main"), ("heads/a/b", "refs/heads/a/b"), ("tags/v1", "refs/tags/v1")]
)
def test_a_short_ref_of_github(ref: str, meant: str) -> None:
    """A branch that is given in short is written in full, as tokens have it, and that is said."""
    done = run(*GITHUB, "--ref", ref, "--audience", "a", "--scope", "dns")
    assert (done.exit_code, done.stderr) == (0, f"tailsts: note: --ref {ref} is taken for {meant}\n")
    assert f'ref = "{meant}"' in done.stdout


@pytest.mark.parametrize("spoil", [lambda text: text.replace(".", "", 1), lambda text: text + "\u00e9", lambda _: ""])
def test_what_is_no_token(spoil: object) -> None:
    """What cannot be read as a token is refused as the server would, and is not shown."""
    assert callable(spoil)
    text = spoil(token("github"))
    done = run("--from-token", "-", "--scope", "dns", given=text.encode())
    assert only_line(done) == "the server would not read this token: malformed_token: not three parts of base64url"


def test_what_strict_refuses() -> None:
    """What `check --strict` would refuse is not written, unless --lenient is given; then it is said all the same."""
    words = ("--claims", "-", "--scope", "dns", "--audience", "a")
    claims = json.dumps({"iss": "http://localhost:8888", "sub": "test"})
    refused = run(*words, given=claims)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "[http-issuer]" in refused.stderr
    assert "--lenient writes it all the same" in refused.stderr
    lenient = run(*words, "--lenient", given=claims)
    assert lenient.exit_code == 0
    assert "[http-issuer]" in lenient.stderr
    assert 'subject = "test"' in lenient.stdout


def test_keys_that_are_not_there_yet(tmp_path: Path) -> None:
    """A copy of keys that is named and not there is said, and no reason not to write."""
    claims = json.dumps(fixture("kubernetes").claims)
    words = ("--claims", "-", "--scope", "dns", "--jwks-file", "keys.json", "--out", str(tmp_path))
    done = run(*words, given=claims)
    assert done.exit_code == 0
    assert "[named-file]" in done.stderr
    assert 'jwks_file = "keys.json"' in next(tmp_path.glob("*[!t].toml")).read_text()
