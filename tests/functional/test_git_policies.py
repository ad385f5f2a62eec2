"""The service with its policies in a git repository: each commit is a generation, and outages do no harm."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.git_http import Answer, Came, GitFolder, GitServer
from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale

TOKEN = "ghp_made-up-token"
PATH = "trust/policies"
# Looked for every two seconds; the rest is for a busy machine.
SOON = 15.0


@dataclass(frozen=True)
class Site:
    """A repository, its server, and what the service needs beside them."""

    folder: Path
    git: GitFolder
    remote: GitServer
    issuer: FakeIssuer
    tailscale: FakeTailscale

    @contextmanager
    def serving(self, *options: str, status: str = "ready", watching: bool = True) -> Iterator[Service]:
        """Run the service with the policies of the repository, and wait until its readiness has this status."""
        told = ["--policies-git", self.remote.url("git"), "--policies-path", PATH, "--policies-interval", "2s"]
        told += ["--policies-token-file", str(self.folder / "token"), *options]
        without = ["--policies-dir", "--no-watch"] if watching else ["--policies-dir"]
        with Service(self.folder, {}, self.tailscale, told, without) as service:
            eventually(lambda: service.readiness()["status"] == status)
            yield service

    def commit(self, **texts: str | None) -> str:
        """Commit policies, by name; None removes one."""
        files = {f"{PATH}/{name}.toml": None if text is None else text.encode() for name, text in texts.items()}
        return self.git.commit(files)

    def status(self, service: Service, scope: str = "dns:read") -> int:
        """Return the status of an exchange."""
        return service.exchange(self.issuer.token(), [scope]).status

    def generation(self, service: Service) -> str:
        """Return the generation that decides an exchange, as its event and the readiness have it."""
        event = service.event_of(service.exchange(self.issuer.token()))
        assert service.readiness()["generation"] == event["generation"]
        generation: str = event["generation"]
        return generation


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a repository with the usual policy, behind a token, and its neighbours."""
    with ExitStack() as stack:
        git = GitFolder(tmp_path / "served" / "git")
        remote = stack.enter_context(GitServer(git.path.parent, credential=f"x-access-token:{TOKEN}"))
        issuer, tailscale = stack.enter_context(FakeIssuer()), stack.enter_context(FakeTailscale())
        token = tmp_path / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        site = Site(tmp_path, git, remote, issuer, tailscale)
        site.commit(infra=policy(issuer.url))
        yield site


def hang_up(_came: Came, _answer: Answer) -> None:
    """Hang up. A fault of the remote."""


def with_scopes(site: Site, *scopes: str) -> str:
    """Return the text of the usual policy with these scopes."""
    return policy(site.issuer.url, allowed_scopes=list(scopes))


def test_a_commit_is_a_generation(site: Site) -> None:
    """The commit names the generation in audit events and readiness; a new one comes into force within the interval."""
    first = site.git.git("rev-parse", "HEAD")
    with site.serving() as service:
        assert (site.status(service), site.status(service, "webhooks"), site.generation(service)) == (200, 403, first)
        second = site.commit(infra=with_scopes(site, "webhooks"), other="# none\n" + policy("https://other.example"))
        eventually(lambda: site.status(service, "webhooks") == 200, SOON)
        assert (site.status(service), site.generation(service)) == (403, second)
        assert service.readiness()["policies"] == 2
        asked = len(site.remote.requests)
        eventually(lambda: len(site.remote.requests) > asked, SOON)
        assert len(service.log_lines("policies reloaded")) == 1
        assert {came.method for came in site.remote.requests} == {"GET", "POST"}
    assert TOKEN not in service.log.read_text()


def test_not_watched(site: Site) -> None:
    """With --no-watch the repository is asked when the service starts, and on SIGHUP alone."""
    with site.serving(watching=False) as service:
        asked = len(site.remote.requests)
        second = site.commit(infra=with_scopes(site, "webhooks"))
        # Longer than the interval.
        time.sleep(3)
        assert len(site.remote.requests) == asked
        assert site.status(service, "webhooks") == 403
        service.reload()
        assert (site.status(service, "webhooks"), site.generation(service)) == (200, second)


def test_a_commit_with_a_fault(site: Site) -> None:
    """A commit whose policies do not load changes nothing, and is said; the next good one comes into force."""
    first = site.git.git("rev-parse", "HEAD")
    with site.serving() as service:
        site.commit(infra="issuer = 1\n")
        eventually(lambda: service.readiness()["status"] == "degraded", SOON)
        assert "issuer is a number" in service.readiness()["reload_faults"][0]
        assert (site.status(service), site.generation(service)) == (200, first)
        third = site.commit(infra=with_scopes(site, "webhooks"))
        eventually(lambda: service.readiness()["status"] == "ready", SOON)
        assert (site.status(service), site.generation(service)) == (403, third)


def test_no_policy_left(site: Site) -> None:
    """P-18: a commit without any policy trusts nobody."""
    with site.serving() as service:
        site.commit(infra=None, **{"infra.test": "# no policy\n"})
        eventually(lambda: site.status(service) == 401, SOON)
        assert service.readiness()["policies"] == 0


def test_the_remote_is_down(site: Site) -> None:
    """While the remote is down the last commit serves, readiness tells, and what came meanwhile is caught up with."""
    first = site.git.git("rev-parse", "HEAD")
    with site.serving() as service:
        site.remote.fault = hang_up
        second = site.commit(infra=with_scopes(site, "webhooks"))
        eventually(lambda: service.readiness()["status"] == "degraded", SOON)
        assert (site.status(service), site.generation(service)) == (200, first)
        assert service.metric("tailsts_policy_reloads_total", result="failed") >= 1
        (fault,) = service.readiness()["reload_faults"]
        assert TOKEN not in fault
        site.remote.fault = None
        eventually(lambda: service.readiness()["status"] == "ready", SOON)
        assert (site.status(service), site.generation(service)) == (403, second)
        assert len(service.log_lines("the repository of the policies cannot be read")) == 1


def test_a_restart_while_the_remote_is_down(site: Site, tmp_path: Path) -> None:
    """With --cache-dir the last good commit survives a restart, and what is new is fetched when the remote is back."""
    first = site.git.git("rev-parse", "HEAD")
    options = ("--cache-dir", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o700)
    with site.serving(*options) as service:
        assert site.generation(service) == first
    site.remote.fault = hang_up
    second = site.commit(infra=with_scopes(site, "webhooks"))
    with site.serving(*options, status="degraded") as service:
        eventually(lambda: site.status(service) == 200)
        assert site.generation(service) == first
        assert [line for line in service.log_lines("policy") if first in line["finding"]]
        site.remote.fault = None
        eventually(lambda: site.status(service, "webhooks") == 200, SOON)
        assert site.generation(service) == second
    shutil.rmtree(tmp_path / "cache")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--policies-git": "https://localhost:1/git"}, "fault: the remote cannot be reached: "),
        ({"--policies-ref": "none"}, "fault: the repository has no branch or tag 'none'"),
        ({"--policies-path": "none"}, "fault: "),
        ({"--policies-git": "http://git.example/x"}, "--policies-git http://git.example/x: it is plain http"),
        ({"--policies-git": "ssh://git@localhost/x"}, "--policies-git: its scheme is none of https, file"),
        ({"--policies-path": "../x"}, "--policies-path is not a folder within the repository"),
        ({"--policies-token-file": "/no/file"}, "--policies-token-file /no/file cannot be read"),
    ],
)
def test_no_start_without_policies(site: Site, change: dict[str, str], said: str) -> None:
    """Without policies from the repository, and none that were kept, the service does not start, and says why."""
    options = {
        "--policies-git": site.remote.url("git"),
        "--policies-path": PATH,
        "--policies-token-file": str(site.folder / "token"),
        "--port": "0",
        **change,
    }
    words = [word for option in options.items() for word in option]
    done = run("serve", *words, TS_CLIENT_ID=CLIENT_ID, TS_CLIENT_SECRET=CLIENT_SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert TOKEN not in done.stderr


def test_a_remote_that_hangs_holds_up_no_stop(site: Site) -> None:
    """Whoever stops the service does not wait for a remote that it was just asking; nothing of the log is lost."""
    site.commit(infra=policy(site.issuer.url))
    with site.serving() as service:
        before = len(site.remote.requests)
        site.remote.fault = site.remote.hang
        eventually(lambda: len(site.remote.requests) > before)
        answer = service.exchange(site.issuer.token())
        service.process.send_signal(signal.SIGTERM)
        # A fetch may take thirty seconds.
        assert service.process.wait(15) == 0
        assert service.log_lines("stopped")
        assert service.event_of(answer)["outcome"] == "granted"
