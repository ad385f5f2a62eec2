"""`tailsts explain` beside a running service: the same verdicts, signatures verified, and decisions of the past."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fakes.deployment import Deployment, deployed
from fakes.http import CLOSE, eventually
from fakes.issuer import FakeIssuer, Issuer, key_pair, sign
from fakes.leaks import note_text
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import FakeTailscale

ALLOWED, DENIED, USAGE, CANNOT_TELL = 0, 1, 2, 3
ACME = "repo:acme/infra:ref:refs/heads/main"
CLUSTER = "https://kubernetes.default.svc"


def explain(*options: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command. What it prints may hold no secret."""
    done = run("explain", *options, given=given)
    note_text(done.stdout)
    return done


def forged(issuer: Issuer, **claims: object) -> str:
    """Return a token under the issuer's key id, signed by another key."""
    return sign(issuer.header(), json.dumps(issuer.claims(**claims)).encode(), key_pair("RS256", 99))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a service with a policy of each kind; no test here changes it."""
    with ExitStack() as stack:
        issuer, tailscale = stack.enter_context(FakeIssuer()), stack.enter_context(FakeTailscale())
        policies = {
            "infra": policy(issuer.url),
            "tagged": policy(issuer.url, subject="tagged", allowed_scopes=["auth_keys"], allowed_tags=["tag:ci"]),
            "young": policy(issuer.url, subject="young", max_age="1m", max_lifetime="10m"),
            "typed": policy(issuer.url, subject="typed") + "[claims]\nid = 7\n",
            "judged": policy(issuer.url, subject="judged", condition="claims.n > 3"),
        }
        service = stack.enter_context(Service(tmp_path_factory.mktemp("explained"), policies, tailscale))
        service.wait_for_keys()
        yield Deployment(service, issuer, tailscale)


CASES: dict[str, tuple[dict[str, object], dict[str, Any]]] = {
    "granted": ({}, {}),
    "another repository": ({"sub": "repo:evil/infra:ref:refs/heads/main"}, {}),
    "another audience": ({"aud": ["a", "b"]}, {}),
    "no audience": ({"aud": None}, {}),
    "a wider scope": ({}, {"scopes": ["dns:read", "dns"]}),
    "expired": ({"iat": 1000, "exp": 2000}, {}),
    "issued in the future": ({"iat": 32503680000, "exp": 32503680300}, {}),
    "not valid yet": ({"nbf": 32503680000}, {}),
    "no end": ({"exp": None}, {}),
    "no subject": ({"sub": None}, {}),
    "an unknown issuer": ({"iss": "https://evil.example"}, {}),
    "tags that are lent": ({"sub": "tagged"}, {"scopes": ["auth_keys"]}),
    "a tag beyond": ({"sub": "tagged"}, {"scopes": ["auth_keys"], "tags": ["tag:prod"]}),
    "too old": ({"sub": "young", "iat": 1700000000}, {}),
    "the type of a claim": ({"sub": "typed", "id": "7"}, {}),
    "a claim": ({"sub": "typed", "id": 7}, {}),
    "a condition": ({"sub": "judged", "n": 4}, {}),
    "a condition that fails": ({"sub": "judged", "n": 3}, {}),
    "a condition that cannot be evaluated": ({"sub": "judged"}, {}),
    "another policy": ({}, {"policy": "young"}),
    "no such policy": ({}, {"policy": "none"}),
}


@pytest.mark.parametrize("name", [*CASES, "forged", "an unknown key", "another algorithm"])
def test_the_verdict_is_that_of_the_server(site: Deployment, name: str) -> None:
    """The same token and the same request have the same verdict, here and there."""
    claims, asked = CASES.get(name, ({}, {}))
    token = {
        "forged": lambda: forged(site.issuer.keys),
        "an unknown key": lambda: site.issuer.token(header={"kid": "other"}),
        "another algorithm": lambda: site.issuer.token(header={"alg": "PS256"}),
    }.get(name, lambda: site.issuer.token(header=None, **claims))()
    scopes, tags = asked.get("scopes", ["dns:read"]), asked.get("tags", [])
    answer = site.service.exchange(token, scopes, {key: value for key, value in asked.items() if key != "scopes"})
    event = site.service.event_of(answer)
    options = [f"--scope={scope}" for scope in scopes] + [f"--tag={tag}" for tag in tags]
    options += [f"--policy={asked['policy']}"] if "policy" in asked else []
    options += ["--policies-dir", str(site.service.policies), "--format", "json", "--token", "-", "--online"]
    done = explain(*options, given=token)
    said = json.loads(done.stdout)
    assert (said["reason"], done.returncode) == (event["reason"], DENIED if answer.status != 200 else ALLOWED)
    if said["allowed"]:
        granted = (event["policy"], event["granted_scopes"], event.get("granted_tags", []), event["tailnet"])
        assert (said["policy"], said["scopes"], said["tags"], said["tailnet"]) == granted


@pytest.mark.parametrize("discovery", [False, True])
def test_online(folder: Path, issuer: FakeIssuer, discovery: bool) -> None:
    """--online verifies with the issuer's keys: a good token, a forged one, and one that nobody can tell of now."""
    text = policy(issuer.url, jwks_url=None) if discovery else policy(issuer.url)
    (folder / "infra.toml").write_text(text)
    where = "discovery" if discovery else issuer.jwks_url
    options = ("--online", "--scope", "dns:read", "--policies-dir", str(folder), "--token", "-")
    good = explain(*options, given=issuer.token())
    assert (good.returncode, good.stdout.splitlines()[0]) == (ALLOWED, f"signature: holds under the keys of {where}")
    assert good.stdout.splitlines()[-1] == "allowed by policy infra: scopes dns:read, tailnet default"
    bad = explain(*options, given=forged(issuer.keys))
    assert (bad.returncode, bad.stdout.splitlines()[0]) == (DENIED, f"signature: {where}: the signature does not hold")
    assert bad.stdout.splitlines()[-1] == "not believed: bad_signature: the signature does not hold"
    issuer.trouble = CLOSE
    silent = explain(*options, given=issuer.token())
    assert (silent.returncode, silent.stderr) == (CANNOT_TELL, "")
    last = f"cannot tell now, as the server could not: no keys of {issuer.url}: "
    assert silent.stdout.splitlines()[-1].startswith(last)
    value = json.loads(explain(*options, "--format", "json", given=issuer.token()).stdout)
    assert (value["allowed"], value["reason"], value["scopes"]) == (None, "keys_unavailable", [])


def test_online_with_two_sources_of_keys(folder: Path, issuer: FakeIssuer) -> None:
    """Of two clusters of one name that counts whose keys verify; if the other is silent, "no" is more than is known."""
    with FakeIssuer(numbers=(1,)) as other:
        (folder / "blue.toml").write_text(policy(CLUSTER, jwks_url=issuer.jwks_url, allowed_scopes=["dns:read"]))
        (folder / "green.toml").write_text(policy(CLUSTER, jwks_url=other.jwks_url, allowed_scopes=["users"]))
        cluster = Issuer(CLUSTER)
        token, late = cluster.token(), cluster.token(iat=1000, exp=2000)

        def outcome(scope: str, token: str) -> tuple[int, str]:
            options = ("--online", "--scope", scope, "--policies-dir", str(folder), "--token", "-")
            done = explain(*options, given=token)
            said = [line for line in done.stdout.splitlines() if line and not line.startswith("  ")]
            return done.returncode, said[-1].partition(":")[0]

        assert outcome("dns:read", token) == (ALLOWED, "allowed by policy blue")
        assert outcome("users", token) == (DENIED, "denied")
        assert outcome("users", late) == (DENIED, "not believed")
        other.trouble = CLOSE
        assert outcome("dns:read", token) == (ALLOWED, "allowed by policy blue")
        assert outcome("users", token) == (CANNOT_TELL, "cannot tell now, as the server could not")
        assert outcome("users", late) == (DENIED, "not believed")


def test_online_asks_none_but_trusted_issuers(folder: Path, tmp_path: Path, issuer: FakeIssuer) -> None:
    """--online asks nobody whom the server would not ask."""
    (folder / "infra.toml").write_text(policy(issuer.url))
    config = tmp_path / "tailsts.toml"
    config.write_text('[trusted_issuers]\nissuers = ["https://other.example"]\n')
    options = ("--online", "--scope", "dns:read", "--policies-dir", str(folder), "--token", "-")
    done = explain(*options, "--config", str(config), given=issuer.token())
    assert (done.returncode, issuer.requests) == (DENIED, [])
    assert done.stdout.splitlines()[0] == "signature: not verified: the server would not ask this issuer for keys"
    done = explain(*options, given=issuer.token(iss="https://evil.example"))
    assert (done.returncode, issuer.requests) == (DENIED, [])


BRACES = 'x{"event":"exchange","decision":"0"}'


@pytest.mark.parametrize("without", [(), ("--audit-log",), ("--audit-log", "--json-logging")])
def test_a_decision_of_the_past(tmp_path: Path, without: tuple[str, ...]) -> None:
    """--decision finds the event in an audit log, and in the service's log of either kind, whatever claims hold."""
    with deployed(tmp_path, without=without) as site:
        refused = site.service.exchange(site.issuer.token(), ["users"])
        hostile = [
            site.service.exchange(site.issuer.token(iss="https://evil.example", sub=subject))
            for subject in (BRACES, "x{", "\x1b[2J\x7f\u2028\n{")
        ]
        stranger = site.service.exchange(site.issuer.token(sub="repo:evil/infra:ref:refs/heads/main"))
        granted = site.service.exchange(site.issuer.token())
        unnamed = site.service.exchange(site.issuer.token(), ["dns:read"], {"policy": "nope"})
        log = site.service.log if "--audit-log" in without else site.service.audit_log
        ids = [answer.headers["X-Decision-Id"] for answer in (refused, *hostile, unnamed, stranger, granted)]
        eventually(lambda: all(decision in log.read_text() for decision in ids))
        shown = [explain("--decision", decision.upper(), "--audit-log", str(log)) for decision in ids]
        values = [explain("--decision", each, "--audit-log", str(log), "--format", "json").stdout for each in ids]
    assert [(done.returncode, done.stderr) for done in shown] == [(0, "")] * 7
    assert all(line.isprintable() for text in (*values, *(done.stdout for done in shown)) for line in text.split("\n"))
    reasons = ["scope_not_allowed", *["unknown_issuer"] * 3, "policy_not_allowed", "subject_not_allowed", "granted"]
    assert [json.loads(value)["reason"] for value in values] == reasons
    assert [done.stdout.splitlines()[0].rpartition(", ")[2] for done in shown] == reasons
    assert "\npolicy infra: allowed_scopes does not hold\n  expected within devices:core:read" in shown[0].stdout
    assert "(not verified: the token's own words)" in shown[1].stdout
    assert "(not verified" not in shown[0].stdout
    assert 'the request named the policy "nope", and for this token\'s issuer there is none' in shown[4].stdout
    assert "\npolicy infra: subject does not hold\n  expected " in shown[-2].stdout
    assert '\n  actual   "repo:evil/infra:ref:refs/heads/main"' in shown[-2].stdout


def test_a_decision_that_a_policy_would_have_allowed(tmp_path: Path) -> None:
    """Of what a policy allows and the service withheld all the same, --decision says so, and why."""
    with FakeIssuer() as issuer, FakeTailscale() as tailscale:
        policies = {
            "once": policy(issuer.url, single_use=True),
            "seldom": policy(issuer.url, subject="seldom", rate_limit="1/day"),
            "broken": policy(issuer.url, subject="broken"),
        }
        with Service(tmp_path, policies, tailscale) as service:
            service.wait_for_keys()
            token = issuer.token()
            answers = [service.exchange(token, ["dns:read"]) for _ in range(2)]
            answers += [service.exchange(issuer.token(sub="seldom", jti=name), ["dns:read"]) for name in "ab"]
            tailscale.trouble = CLOSE
            answers.append(service.exchange(issuer.token(sub="broken"), ["dns:read"]))
            asked = [(service.event_of(answer)["reason"], answer.headers["X-Decision-Id"]) for answer in answers]
            log = str(service.audit_log)
            said = {reason: explain("--decision", each, "--audit-log", log).stdout for reason, each in asked}
    assert [answer.status for answer in answers] == [200, 403, 200, 429, 503]
    assert "allows it, but" not in said["granted"]
    assert not [text for text in said.values() if "no policy is for such a token" in text]
    assert "\npolicy once allows it, but the token was used already" in said["replayed"]
    assert "\npolicy seldom allows it, but this subject asked more often than its rate_limit" in said["rate_limited"]
    assert "\npolicy broken allows it, but Tailscale could not give a token" in said["tailscale_unavailable"]


def test_no_such_decision(tmp_path: Path) -> None:
    """A log that cannot be read, or that does not know of it, is exit 2, and is said."""
    log = tmp_path / "audit.jsonl"
    log.write_text('garbage "decision":"00000000000000000000"\n' + '{"event":"exchange","decision":["x"]}\n')
    done = explain("--decision", "0" * 20, "--audit-log", str(log))
    assert (done.returncode, done.stdout) == (USAGE, "")
    said = f"{log} holds no decision {'0' * 20}: is it the log of this server, and of that day?"
    assert done.stderr == f"tailsts: error: {said}\n"
    done = explain("--decision", "0" * 20, "--audit-log", str(tmp_path))
    assert done.stderr == f"tailsts: error: --audit-log {tmp_path} cannot be read: Is a directory\n"
