"""Tests of policies: requests and claims are read as the service reads them, and it counts whose keys a token is of."""

import pytest

from fakes.judging import ISSUER, policy
from tailsts.oidc.source import JwksUrl
from tailsts.policy.asked import read_wanted
from tailsts.policy.decide import Wanted
from tailsts.policy.model import assemble
from tailsts.policy.trial import untested
from unit.test_trial import START, read, trial, tried


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"scopes": ["x"], "tags": ["ci"]}, "bad_tag"),
        ({"scopes": ["a b"]}, "bad_scope"),
        ({"scopes": ["x"], "policy": "x" * 256}, "bad_policy"),
    ],
)
def test_what_is_no_request(asked: dict[str, object], reason: str) -> None:
    """What the service would answer with 400 is denied for that very reason, and counts as no policy's denial."""
    unfit = read_wanted(asked)
    assert tried(trial("deny", wanted=unfit, reason=reason)).fault == ""
    found = tried(trial("deny", wanted=unfit, reason="tag_not_allowed"))
    assert found.fault == f"expected the reason tag_not_allowed, but it is {reason}"
    assert tried(trial(wanted=unfit)).fault == f"expected it to be allowed, but it is denied: {reason}"
    assert untested(assemble([policy()], "d"), [found]) == (["p"], ["p"])


def test_requests_are_read_as_the_service_reads_them() -> None:
    """A test may ask for what is no request: it is read all the same."""
    trials, faults = read(f'[[test]]\n{START}tags = ["ci"]\nclaims = {{}}\n')
    assert faults == []
    assert trials[0].wanted == read_wanted({"scopes": ["x"], "tags": ["ci"]})


def test_claims_are_read_as_a_token_is() -> None:
    """Claims that no token may have are denied as the token would be."""
    twins: dict[str, object] = {"iss": ISSUER, "sub": "s", "aud": "a", "SUB": "t"}
    assert tried(trial("deny", claims=twins, reason="malformed_token")).fault == ""
    assert tried(trial("deny", claims={"iss": "https://" + "x" * 600, "sub": "s"}, reason="claim_invalid")).fault == ""
    assert tried(trial("deny", algorithm="HS256", reason="algorithm_refused")).fault == ""


ONE, TWO = JwksUrl("https://one/jwks"), JwksUrl("https://two/jwks")


def test_i10_whose_keys_the_token_is_of() -> None:
    """I-10: under several sources of keys a test must come true under each, or say whose keys it means."""
    clusters = [policy("a", source=ONE), policy("b", source=TWO, allowed_scopes=frozenset({"y"}))]
    for passing in (
        trial(keys_of="a", policy="a"),
        trial("deny", keys_of="b", policy="b", reason="scope_not_allowed"),
        trial(wanted=Wanted(("y",))),
        trial("deny", wanted=Wanted(("z",)), reason="scope_not_allowed"),
    ):
        assert tried(passing, *clusters).fault == ""
    advice = " (keys_of says whose keys the token is of)"
    denied = "under the keys of https://two/jwks: expected it to be allowed, but it is denied: scope_not_allowed"
    allowed = "under the keys of https://one/jwks: expected a denial, but policy a allows it"
    assert tried(trial(), *clusters).fault == denied + advice
    assert tried(trial("deny"), *clusters).fault == allowed + advice
    unknown = tried(trial(keys_of="c"), *clusters)
    assert unknown.fault == "keys_of: no policy of this issuer is called c"
    # What is shown of it is what there is, and not that nobody knew the issuer.
    assert [trace.policy for trace in unknown.explanation.traces] == ["a", "b"]


def test_the_usual_algorithm_is_that_of_the_keys() -> None:
    """The algorithm that is assumed is one that a policy of the token's keys takes."""
    clusters = [policy("a", source=ONE), policy("b", source=TWO, algorithms=frozenset({"ES256"}))]
    assert tried(trial(keys_of="b", policy="b"), *clusters).fault == ""
