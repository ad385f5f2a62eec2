"""The page of threats against the tests that it names."""

from fakes.pages import read
from threats.listing import page, shown, threats

THREATS = threats()
SHOWN = shown()


def test_the_page_is_made_from_the_tests() -> None:
    """docs/threats.md is what `./dev threats` writes."""
    assert page(SHOWN) == read("docs/threats.md")


def test_every_threat_is_shown() -> None:
    """Each threat has a test that holds its id, or rows whose tests show it, or a reason why there is none."""
    ids = [threat.id for threat in THREATS]
    assert len(set(ids)) == len(ids)
    bare = [threat.id for threat in THREATS if not threat.rows and not threat.not_ours and not SHOWN.get(threat.id)]
    assert bare == []
    assert [threat.id for threat in THREATS for row in threat.rows if row not in SHOWN] == []


def test_every_id_is_a_threat() -> None:
    """Each id that a test holds is on the page."""
    assert set(SHOWN) - {threat.id for threat in THREATS} == set()


def test_nothing_is_excused_that_is_tested() -> None:
    """What is said to be none of ours has a reason, no answer and no test; everything else has an answer."""
    for threat in THREATS:
        assert bool(threat.not_ours) is not bool(threat.answer), threat.id
        assert not (threat.not_ours and SHOWN.get(threat.id)), threat.id


def test_the_security_model_leaves_them_to_the_page() -> None:
    """The security model leads to the page, and the page back."""
    assert "](threats.md)" in read("docs/security.md")
    assert "](security.md)" in read("docs/threats.md")
