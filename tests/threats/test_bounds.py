"""Threats of doing it again, and of doing it often, from end to end."""

from collections import Counter
from collections.abc import Iterator

import pytest

from fakes.deployment import Deployment, deployed


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service, where a token buys one access token."""
    with deployed(tmp_path_factory.mktemp("once"), ["--single-use"]) as site:
        yield site


@pytest.mark.parametrize("jti", [None, "", 1, ["a"]])
def test_u01_without_a_name_of_its_own(once: Deployment, jti: object) -> None:
    """U-01: a token without a usable jti is used once as well, and another one is another."""
    first, second = (once.issuer.token(header=None, jti=jti, number=number) for number in range(2))
    assert [once.service.exchange(token).status for token in (first, first, second, second)] == [200, 403, 200, 403]


def test_u01_another_spelling_of_the_signature(once: Deployment) -> None:
    """U-01: what is not signed cannot make a used token a new one: there is one spelling of each."""
    token = once.issuer.token(jti=None)
    assert once.service.exchange(token).status == 200
    for changed in (f"{token}=", token.replace(".", ".=", 1), f" {token}", f"{token}."):
        assert once.service.exchange(changed).status == 401
    assert once.service.exchange(token).status == 403


def test_cve_2025_6203_turned_away_before_it_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CVE-2025-6203, CVE-2025-12044: whoever sends too much is turned away before any of it is parsed."""
    deep = b'{"scopes": ' + b"[" * 8000 + b"]" * 8000 + b"}"
    with deployed(tmp_path_factory.mktemp("flood"), ["--peer-rate", "20/hour"]) as site:
        fields = {"Authorization": f"Bearer {site.issuer.token()}", "Content-Type": "application/json"}
        statuses = [site.service.request("POST", "/", deep, fields).status for _ in range(40)]
        # Read, and no JSON of ours: 400. Not read: 429, and for the worst and the best request alike.
        assert {400, 429} == set(statuses)
        assert Counter({400: 20, 429: 20}) == Counter(statuses)
        assert site.service.exchange(site.issuer.token()).status == 429
        assert site.service.exchange("x").status == 429
        assert len([event for event in site.service.events() if event["reason"] == "bad_json"]) <= 20
