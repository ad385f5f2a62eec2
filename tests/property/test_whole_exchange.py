"""Laws of the whole exchange, from header fields to the answer: what explain says of it, what trusts keep apart."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from property.whole import ROGUE, SOURCES, Texts, Whole, allow_lists, folders, further, requests, tokens, whole
from tailsts.cli.telling import of_request, of_token, tell
from tailsts.policy.trusted import TrustedIssuers

GRANTED = 200
ALL_SOURCES = (*SOURCES, "both.json")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """Return an exchange; each example puts its own policies in force."""
    with whole(tmp_path_factory.mktemp("policies")) as running:
        yield running


@settings(max_examples=150)
@given(folders(ALL_SOURCES), allow_lists, requests(), st.data())
def test_explain_says_what_the_exchange_does(
    site: Whole, found: Texts, trusted: TrustedIssuers | None, wanted: dict[str, list[str]], data: st.DataObject
) -> None:
    """For any policies, allow-list, token and request, well-formed or not, explain --online and the service agree.

    Offline it says the same, or that it cannot tell; of a source whose keys signed the token, it always says the same.
    """
    policies = site.put_in_force(found, trusted)
    token, signer = data.draw(tokens(site.now))
    answer, event = site.ask(token, wanted)
    request = of_request(wanted["scopes"], wanted["tags"], wanted.get("policy"))  # type: ignore[arg-type]  # a name
    told = tell(policies, of_token(token), request, site.now, ())
    said = json.loads(told.as_json())
    if event["reason"] == "replayed":
        # An earlier example used it up. What was used is not judged, and that is said.
        assert (said["allowed"], said["not_judged"].get("single_use")) == (True, True)
        return
    assert said["allowed"] is (answer.status == GRANTED)
    assert (said["reason"], said["policy"] or "") == (event["reason"], event.get("policy", ""))
    granted = (event.get("granted_scopes", []), event.get("granted_tags", []), event.get("tailnet"))
    assert (said["scopes"], said["tags"], said["tailnet"]) == granted
    assert (said["would_refuse"] or "") == event.get("would_refuse", "")

    offline = json.loads(tell(policies, of_token(token), request, site.now).as_json())
    if event["reason"] in {"bad_signature", "unknown_key", "ambiguous_key", "key_algorithm_mismatch"}:
        return
    assert offline["allowed"] in {None, said["allowed"]}
    if event["outcome"] in {"granted", "refused"} and signer != ROGUE:
        alone = [each for each in offline["under"] if each["keys"].endswith(SOURCES[signer])]
        assert not alone or len(found) == 1 or alone[0]["allowed"] in {said["allowed"], False}
    if offline["allowed"] is None:
        assert len({each["allowed"] for each in offline["under"]}) > 1
    elif not offline["under"]:
        same = ("allowed", "reason", "policy", "scopes", "tags", "tailnet", "would_refuse")
        assert {name: offline[name] for name in same} == {name: said[name] for name in same}


@settings(max_examples=100)
@given(folders(), requests(), st.data())
def test_i10_no_token_of_one_trust_is_judged_under_another(
    site: Whole, found: Texts, wanted: dict[str, list[str]], data: st.DataObject
) -> None:
    """I-10: what is granted, and what a refusal names, are policies that trust the very key that signed the token."""
    site.put_in_force(found)
    token, signer = data.draw(tokens(site.now))
    answer, event = site.ask(token, wanted)
    mine = {name for name, keys in found.items() if signer != ROGUE and keys["jwks_file"] == SOURCES[signer]}
    named = {miss["policy"] for miss in event.get("misses", [])} | {event.get("policy", "")} - {""}
    assert named <= mine
    assert answer.status != GRANTED or event["policy"] in mine
    assert signer != ROGUE or not event.get("verified")


@settings(max_examples=100)
@given(folders(), requests(), st.data())
def test_a_further_key_in_a_text_never_allows_more(
    site: Whole, found: Texts, wanted: dict[str, list[str]], data: st.DataObject
) -> None:
    """What is refused stays refused when one of the policies gets one more condition in its text."""
    token, _ = data.draw(tokens(site.now, (0, 1)))
    site.put_in_force(found)
    before, _ = site.ask(token, wanted)
    name = data.draw(st.sampled_from(sorted(found)))
    site.put_in_force({**found, name: data.draw(further(found[name]))})
    after, event = site.ask(token, wanted)
    # The token was used by then, if at all; whether it was is no condition of the text.
    if after.status == GRANTED:
        assert before.status == GRANTED, event
