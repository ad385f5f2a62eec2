"""Policies that no token can satisfy."""

import pytest

from unit.advising import GITHUB, GITLAB, SOMEBODY, codes, findings, said, toml

IDS = 'repository_id = "1"\nrepository_owner_id = "2"\nevent_name = "push"'
PINNED = f'[claims]\n{IDS}\nref = "refs/heads/main"'
REPO = "repo:acme@2/infra@1"
AWS = "https://0b54b4a9-7a5e-41bc-9f6e-1d8a7f3b2c10.tokens.sts.global.api.aws"


@pytest.mark.parametrize(
    "condition",
    [
        "false",
        "1 == 2",
        "claims.repository == 'a' && claims.repository == 'b'",
        "claims.repository == 'a' && claims.repository in ['b', 'c']",
        "(claims.a == 'x' || claims.a == 'y') && claims.a == 'z'",
        "claims.a == 'x' && false || claims.a == 'y' && claims.a == 'z'",
        "claims.a in []",
        "claims.a && claims.a == false",
        "!claims['a'] && claims.a",
    ],
)
def test_conditions_that_are_never_true(condition: str) -> None:
    """A condition that contradicts itself is told so."""
    body = f'condition = "{condition}"\n{PINNED}'
    assert said(toml(body)) == [("security", "never-met", "condition")]


@pytest.mark.parametrize(
    ("issuer", "body", "other"),
    [
        (SOMEBODY, "subject = 'b'\ncondition = 'claims.sub == \"c\"'", "subject"),
        (SOMEBODY, "subject_pattern = 'b[0-9]'\ncondition = 'claims.sub == \"c\"'", "subject_pattern"),
        (SOMEBODY, "subject = 'b'\ncondition = 'claims.iss == \"c\"'", "issuer"),
        (SOMEBODY, "subject = 'b'\ncondition = 'claims.sub.startsWith(\"c\")'", "sub"),
        (SOMEBODY, "[claims]\na = ['x', 'y']\nn = 1\n", "condition = 'claims.a == \"z\"'"),
        (SOMEBODY, "[claims]\na = 1\n", "condition = 'claims.a == true'"),
        (SOMEBODY, "[claims]\na = ['x', 'y']\nn = [1, 2]\n", "condition = 'claims.a + string(claims.n) == \"x3\"'"),
        (SOMEBODY, "[claims]\na = true\n[claim_patterns]\nb = 'x.?'\n", 'condition = \'claims.b in ["y", "z"]\''),
        (
            "",
            (
                "issuer_pattern = 'https://[a-z]+\\.example\\.com'\nsubject = 'b'\n"
                "condition = 'claims.iss == \"https://a.example.org\"'"
            ),
            "issuer_pattern",
        ),
    ],
)
def test_conditions_against_the_rest(issuer: str, body: str, other: str) -> None:
    """A condition that contradicts what else is asked is told so."""
    text = f"{other}\n{body}" if other.startswith("condition") else body
    (finding,) = [one for one in findings(toml(text, issuer)) if one.code == "never-met"]
    assert (finding.severity, finding.path) == ("security", "condition")
    assert other.startswith("condition") or other in finding.message


@pytest.mark.parametrize(
    "body",
    [
        "subject = 'b'\ncondition = 'claims.sub == \"b\" || claims.sub == \"c\"'",
        "subject = 'b'\ncondition = 'claims.sub != \"c\"'",
        "subject_pattern = '[bc]'\ncondition = 'claims.sub == \"c\"'",
        "condition = 'claims.a == \"y\" && claims.n == 1.0'\n[claims]\na = ['x', 'y']\nn = 1",
        "condition = 'claims.a == \"y\" && claims.b != claims.a'\n[claims]\na = ['x', 'y']",
        "condition = 'has(claims.a) == true && claims.a == \"y\"'\n[claims]\na = 'y'",
        "condition = 'claims.a == \"y\" && now > timestamp(\"2020-01-01T00:00:00Z\")'\n[claims]\na = 'y'",
        "condition = 'claims.a == \"y\" && \"dns:read\" in scopes'\n[claims]\na = 'y'",
        "condition = 'claims.a.b == \"y\"'\n[claims.a]\nb = 'y'",
        "condition = '(claims.a == claims.b ? true : false) || claims.a in [claims.b, \"x\"]'\n[claims]\na = 'y'",
        f"condition = 'claims.a.endsWith(\"z\")'\n[claims]\na = {[f'x{number}' for number in range(70)]}",
    ],
)
def test_conditions_that_can_be_true(body: str) -> None:
    """Where it is not sure, nothing is said."""
    assert "never-met" not in codes(toml(body, SOMEBODY))


def test_issuers_of_conditions() -> None:
    """A condition that names an issuer of the pattern, or what has a key of its own, can be true."""
    body = "issuer_pattern = 'https://[a-z]+\\.example\\.com'\nsubject = 'b'\n"
    assert codes(toml(f"{body}condition = 'claims.iss == \"https://a.example.com\"'")) == []
    assert codes(toml(f"{body}condition = 'claims.sub.startsWith(\"b\")'")) == []
    by_ids = f"condition = 'claims.sub == \"{REPO}:ref:refs/heads/main\"'\n{PINNED}"
    assert codes(toml(by_ids)) == []


def test_patterns_that_match_nothing() -> None:
    """A pattern that no text matches is told so."""
    for key in ("subject_pattern", "[claims]\na = 'b'\n[claim_patterns]\nc"):
        found = said(toml(rf"{key} = '[^\s\S]+'", SOMEBODY))
        assert [(severity, code) for severity, code, _ in found] == [("security", "never-met")]
    assert "never-met" not in codes(toml(r"subject_pattern = '\Qb\E'", SOMEBODY))


@pytest.mark.parametrize(
    ("issuer", "body", "algorithm", "expected"),
    [
        (GITHUB, PINNED, '"ES256"', True),
        (GITHUB, PINNED, '["ES256", "PS256"]', True),
        (GITHUB, PINNED, '["ES256", "RS256"]', False),
        (GITLAB, '[claims]\nproject_id = "1"\nnamespace_id = "2"\nref_protected = "true"', '"EdDSA"', True),
        (AWS, "subject = 'arn:aws:iam::123456789012:role/a'", '"ES384"', False),
        ("https://k.example.com", "subject = 'system:serviceaccount:a:b'", '"ES256"', False),
        (SOMEBODY, "subject = 'a'", '"ES256"', False),
    ],
)
def test_algorithms(issuer: str, body: str, algorithm: str, expected: bool) -> None:
    """An issuer that is known to sign with other algorithms signs none of its tokens so."""
    found = said(toml(f"algorithm = {algorithm}\n{body}", issuer))
    assert (("security", "never-met", "algorithm") in found) == expected


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (f"subject = '{REPO}:ref:refs/heads/main'\n[claims]\nenvironment = 'prod'\nevent_name = 'push'", "environment"),
        (f"subject = '{REPO}:ref:refs/heads/main'\n[claims]\nevent_name = 'pull_request'", "event_name"),
        (f"subject = '{REPO}:ref:refs/tags/v1'\n[claims]\nevent_name = 'push'\nref_type = 'branch'", "ref_type"),
        (f"subject = '{REPO}:ref:refs/heads/main'\n[claims]\nevent_name = 'push'\nref_type = 'tag'", "ref_type"),
        (f"subject = '{REPO}:pull_request'\n[claims]\nevent_name = 'push'", "event_name"),
        (f"subject = '{REPO}:pull_request'\n[claims]\nenvironment = 'prod'", "environment"),
        (f"subject_pattern = '{REPO}:ref:refs/heads/(a|b)'\n[claims]\nenvironment = 'prod'", "environment"),
    ],
)
def test_forms_of_subjects(body: str, key: str) -> None:
    """A claim that goes with another form of GitHub's subject is one that no token has beside this one."""
    found = [one for one in findings(toml(body)) if one.code == "contradicting-claims"]
    assert [(str(one.severity), one.path) for one in found] == [("security", f"claims.{key}")]


def test_forms_of_subjects_and_others() -> None:
    """The same for patterns of claims and conditions."""
    subject = f"subject = '{REPO}:ref:refs/heads/main'\n"
    pattern = f"{subject}[claims]\nevent_name = 'push'\n[claim_patterns]\nenvironment = 'p|q'"
    assert said(toml(pattern)) == [("security", "contradicting-claims", "claim_patterns.environment")]
    condition = f'{subject}condition = \'claims.event_name == "push" && claims.environment in ["p", "q"]\''
    assert said(toml(condition)) == [("security", "contradicting-claims", "condition")]
    # What is said twice is said once.
    twice = f'{subject}condition = \'claims.event_name == "pull_request" && claims.ref == "refs/heads/x"\''
    assert said(toml(twice)) == [("security", "contradicting-claims", "condition")]


@pytest.mark.parametrize(
    "body",
    [
        f"subject_pattern = '{REPO}:(ref:refs/heads/main|environment:prod)'\n[claims]\nenvironment = 'prod'",
        f"subject_pattern = '{REPO}:environment:[a-z]+'\n[claims]\nenvironment = 'prod'",
        f"subject = '{REPO}:ref:refs/heads/main'\n[claims]\nref_type = 'branch'\nevent_name = 'push'",
        f"subject = '{REPO}:ref:refs/heads/main'\n[claim_patterns]\nevent_name = 'pu.*'",
        f"subject = '{REPO}:environment:prod%3Aeu'\n[claims]\nenvironment = 'prod:eu'",
        f"subject = '{REPO}:pull_request'\n[claims]\nevent_name = 'pull_request'",
        # The repository puts the environment into all its subjects.
        f"subject = '{REPO}:ref:refs/heads/main:environment:prod'\n[claims]\nenvironment = 'prod'",
    ],
)
def test_claims_that_go_with_the_subject(body: str) -> None:
    """What a token can have together is not said to contradict."""
    assert "contradicting-claims" not in codes(toml(body))


def test_i08_colons() -> None:
    """I-08: a colon in the name of an environment comes as %3A; with that, the rest is judged as ever."""
    (finding,) = [one for one in findings(toml(f"subject = '{REPO}:environment:prod:eu'")) if one.code == "claim-form"]
    assert (str(finding.severity), finding.path) == ("security", "subject")
    assert "%3A" in finding.message
    assert codes(toml("subject = 'repo:acme/infra:environment:prod%3Aeu'")) == ["names-alone", "environment-branch"]
    # Further claims, by name.
    assert "claim-form" not in codes(toml(f"subject = '{REPO}:environment:prod:actor:a:repo_property_x:y'"))


@pytest.mark.parametrize(
    ("condition", "code", "words"),
    [
        ("claims.ref == 'main'", "claim-form", 'ref is "main", which no token of GitHub Actions has'),
        ("claims.ref in ['main', 'v1']", "claim-form", 'ref is "main"'),
        (
            "claims.ref_protected == true",
            "claim-type",
            "ref_protected is a boolean, and GitHub Actions writes a string",
        ),
        ("claims.repositroy == 'acme/infra'", "unknown-claim", "asks for repositroy, which is a claim that"),
        ("claims.tailnet == 'a'", "claim-form", "asks for tailnet, which is a key of a policy"),
    ],
)
def test_claims_of_conditions(condition: str, code: str, words: str) -> None:
    """I-12: what a condition asks of a claim is judged as what [claims] ask."""
    text = f'condition = "{condition}"\n[claims]\n{IDS}'
    (finding,) = [one for one in findings(toml(text)) if one.code == code]
    assert finding.path == "condition"
    assert words in finding.message


def test_claims_of_conditions_that_can_be() -> None:
    """One value that can be is enough, and what may be left out is not asked for."""
    for condition in ("claims.ref in ['main', 'refs/heads/main']", "claims.ref == 'main' || claims.ref != 'x'"):
        assert "claim-form" not in codes(toml(f'condition = "{condition}"\n[claims]\n{IDS}'))
