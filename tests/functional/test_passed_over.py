"""What has the name of a policy and is not read: the server says so, and so does `tailsts check`."""

from pathlib import Path

from fakes.deployment import deployed
from fakes.git_http import GitFolder
from fakes.http import eventually
from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import FakeTailscale

LEADS_OUT = "is a link that leads out of the folder, and is not read (put a file in its place) [passed-over]"


def test_a_link_that_leads_out(tmp_path: Path) -> None:
    """A link out of the folder is not followed; the log says so when it appears, and `check` with the same words."""
    outside = tmp_path / "outside.toml"
    outside.write_text(policy("https://other.example"))
    with deployed(tmp_path, without=("--no-watch",)) as site:
        link = site.service.policies / "out.toml"
        link.symlink_to(outside)
        said = f"{link}: security: {LEADS_OUT}"
        eventually(lambda: [line["finding"] for line in site.service.log_lines("policy")].count(said) == 1)
        assert (site.service.readiness()["status"], site.service.readiness()["policies"]) == ("ready", 1)
        for also, code in ([], 0), (["--strict"], 1):
            done = run("check", *also, str(site.service.policies))
            assert done.returncode == code
            assert LEADS_OUT in done.stdout


def test_links_in_a_repository(tmp_path: Path, issuer: FakeIssuer, tailscale: FakeTailscale) -> None:
    """A link in a repository is not followed, wherever it leads, and the log says so at the start."""
    git = GitFolder(tmp_path / "git")
    (git.path / "linked.toml").symlink_to("real.toml")
    git.commit({"real.toml": policy(issuer.url).encode()})
    options = ["--policies-git", git.path.as_uri()]
    with Service(tmp_path, {}, tailscale, options, without=("--policies-dir",)) as service:
        assert service.readiness()["policies"] == 1
        assert "linked.toml: security: is a link, and is not read (put a file in its place) [passed-over]" in [
            line["finding"] for line in service.log_lines("policy")
        ]
