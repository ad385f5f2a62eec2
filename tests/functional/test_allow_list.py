"""The organisation's allow-list of issuers, above all policies: enforced, or only watched."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.issuer import FakeIssuer
from fakes.policies import policy
from fakes.service import Service, run
from fakes.tailscale import CLIENT_ID, CLIENT_SECRET, FakeTailscale


@dataclass(frozen=True)
class Listed:
    """A service with policies for two issuers, of which the allow-list names one."""

    service: Service
    listed: FakeIssuer
    other: FakeIssuer


@contextmanager
def allowing(folder: Path, mode: str) -> Iterator[Listed]:
    """Run the service with an allow-list of that mode."""
    with FakeIssuer() as listed, FakeIssuer() as other, FakeTailscale() as tailscale:
        config = folder / "tailsts.toml"
        config.write_text(f'[trusted_issuers]\nmode = "{mode}"\nissuers = ["{listed.url}"]\n')
        policies = {"listed": policy(listed.url), "other": policy(other.url)}
        with Service(folder, policies, tailscale, ["--config", str(config)]) as service:
            service.wait_for_keys()
            yield Listed(service, listed, other)


def test_enforced(tmp_path: Path) -> None:
    """An issuer that is not listed is rejected whatever policies say, as unknown ones are, and is never asked."""
    with allowing(tmp_path, "enforce") as site:
        assert site.service.exchange(site.listed.token()).status == 200
        answer = site.service.exchange(site.other.token())
        decision = answer.headers["X-Decision-Id"]
        assert (answer.status, answer.text) == (401, f"invalid token (decision {decision})\n")
        event = site.service.event_of(answer)
        assert (event["outcome"], event["reason"], event.get("verified")) == ("rejected", "untrusted_issuer", None)
        assert "would_refuse" not in event
        assert site.other.requests == []
        assert [trust["issuer"] for trust in site.service.readiness()["trusts"]] == [site.listed.url]
        assert "tailsts_would_refuse_total{" not in site.service.metrics()


def test_watched(tmp_path: Path) -> None:
    """Mode audit lets everything pass, and says of each exchange what it would have refused, also in the metrics."""
    with allowing(tmp_path, "audit") as site:
        assert "would_refuse" not in site.service.event_of(site.service.exchange(site.listed.token()))
        granted = site.service.exchange(site.other.token())
        refused = site.service.exchange(site.other.token(), ["users"])
        unknown = site.service.exchange(site.other.token(iss="https://made-up.example"))
        assert [answer.status for answer in (granted, refused, unknown)] == [200, 403, 401]
        events = [site.service.event_of(answer) for answer in (granted, refused, unknown)]
        assert [event["reason"] for event in events] == ["granted", "scope_not_allowed", "unknown_issuer"]
        assert [event["would_refuse"] for event in events] == ["untrusted_issuer"] * 3
        assert site.service.metric("tailsts_would_refuse_total", reason="untrusted_issuer") == 3


def test_l03_made_up_issuers_add_no_labels(tmp_path: Path) -> None:
    """L-03: whatever issuers strangers make up, the allow-list's numbers have one label, and no name of theirs."""
    with allowing(tmp_path, "audit") as site:
        for number in range(50):
            site.service.exchange(site.other.token(iss=f"https://made-up-{number}.example"))
        site.service.event_of(site.service.exchange(site.other.token()))
        text = site.service.metrics()
        assert "made-up" not in text
        assert text.count("tailsts_would_refuse_total{") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[trusted_issuers]\n", "trusted_issuers.issuers is missing"),
        ("[trusted_issuers]\nissuers = []\n", "trusted_issuers.issuers is an empty list"),
        ('[trusted_issuers]\nmode = "off"\nissuers = ["https://a.example"]\n', "trusted_issuers.mode is 'off'"),
        ('[trusted_issuers]\nissuer = "https://a.example"\n', "did you mean issuers?"),
        ('[trusted_issuers]\nissuer_patterns = [".*"]\n', "trusted_issuers.issuer_patterns '.*' cannot be used"),
        ("[trusted_issuers\n", "not TOML"),
        ("", "holds neither tailnets nor trusted_issuers"),
    ],
)
def test_an_allow_list_that_is_none(tmp_path: Path, folder: Path, text: str, said: str) -> None:
    """One that is empty or broken is a fault at the start, and never "allow all"."""
    (folder / "infra.toml").write_text(policy("https://issuer.example"))
    (tmp_path / "tailsts.toml").write_text(text)
    options = ["--config", str(tmp_path / "tailsts.toml"), "--policies-dir", str(folder), "--port", "0"]
    done = run("serve", *options, TS_CLIENT_ID=CLIENT_ID, TS_CLIENT_SECRET=CLIENT_SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
