"""P-06, P-07, P-12, P-19, U-07: texts that do not mean what they seem to, and rights that give more."""

import pytest

from unit.advising import SOMEBODY, codes, findings, said, toml


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ("subject_pattern = '[a-z]+@chainguard.dev'", "subject_pattern"),
        ("subject_pattern = 'x|y@(acme.com|b)'", "subject_pattern"),
        ("[claims]\na = 'x'\n[claim_patterns]\n\"b.c\" = 'deploy.yml'", 'claim_patterns."b.c"'),
    ],
)
def test_p07_dots(body: str, key: str) -> None:
    """P-07: a dot in a name matches any character, unless it is escaped."""
    assert said(toml(body, SOMEBODY)) == [("security", "unescaped-dot", key)]
    assert (
        codes(
            toml(
                body.replace("chainguard.", r"chainguard\.")
                .replace("acme.", r"acme\.")
                .replace("y.y", "yy")
                .replace("deploy.", r"deploy\."),
                SOMEBODY,
            )
        )
        == []
    )


def test_p07_audience() -> None:
    """P-07: in the pattern of an audience too."""
    text = toml('subject = "x"', SOMEBODY, audience="audience_pattern = 'https://sts.acme.com'")
    assert said(text) == [("security", "unescaped-dot", "audience_pattern")]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("repo:acme.*", "acme"),
        ("repo:acme/infra.*", "infra"),
        ("repo:acme[^ ]+", "acme"),
        ("x|repo:acme.*", "acme"),
        ("system:serviceaccount:ci.*", "ci"),
        (r"spiffe://acme\.example.*", "acme.example"),
        (r"arn:aws:iam::123456789012:role/Deploy.+", "Deploy"),
    ],
)
def test_p06_open_names(pattern: str, name: str) -> None:
    """P-06: a name that goes on with anything becomes the name of somebody else."""
    (finding,) = [one for one in findings(toml(f"subject_pattern = '{pattern}'", SOMEBODY)) if one.code == "open-name"]
    assert f'after "{name}"' in finding.message


@pytest.mark.parametrize(
    "pattern",
    [
        "repo:acme/.*",
        "repo:acme/infra:.*",
        "repo:acme/infra:ref:refs/heads/release.*",
        "repo:acme[a-z-]*/infra",
        "repo:acme.?/infra",
        "repo:acme(/.*)?",
        "repo:acme/(a|b):.*",
        "acme",
        r"(?P<who>acme)\b.*",
        "[a-z]+.*",
    ],
)
def test_p06_closed_names(pattern: str) -> None:
    """P-06: after a separator, within it, or in the name of a branch, it does not."""
    assert "open-name" not in codes(toml(f"subject_pattern = '{pattern}'", SOMEBODY))


def test_p06_claims() -> None:
    """P-06: the same for claims, but for those that are names of branches."""
    patterns = "[claims]\nrepository_owner_id = '1'\nevent_name = 'push'\n[claim_patterns]\nref = 'refs/heads/v.*'\n"
    assert codes(toml(patterns)) == []
    assert said(toml(f"{patterns}repository = 'acme.*'")) == [("security", "open-name", "claim_patterns.repository")]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('subject = "repo:\u0430cme/infra"', "subject"),
        ('subject = "\u0430\u0441\u0435"', "subject"),
        ('subject = "\uff41cme"', "subject"),
        ('subject = "acme\u200b"', "subject"),
        ('subject = "a\u00a0b"', "subject"),
        ('subject = "\u212a8s"', "subject"),
        ("subject_pattern = '\u0430cme'", "subject_pattern"),
        ('[claims]\nt\u0435am = "a"', 'claims."t\u0435am"'),
        ('[claims]\nteam = ["b", "\u0430cme"]', "claims.team"),
        ("[claims]\nteam = 'a'\n[claim_patterns]\n\u0430cme = 'a'", 'claim_patterns."\u0430cme"'),
        ("condition = 'claims.team == \"\u0430cme\"'", "condition"),
    ],
)
def test_p19_lookalikes(body: str, key: str) -> None:
    """P-19: a character that looks like another one, or like none, is found and named."""
    body = body.replace("t\u0435am =", '"t\u0435am" =').replace("\u0430cme = 'a'", "\"\u0430cme\" = 'a'")
    assert said(toml(body, SOMEBODY)) == [("security", "confusable", key)]


def test_p19_audience() -> None:
    """P-19: in an audience too."""
    assert codes(toml('subject = "x"', SOMEBODY, audience='audience = "\u0430"')) == ["confusable"]


@pytest.mark.parametrize(
    "text", ["M\u00fcller", "\u0437\u0430\u043f\u0443\u0441\u043a", "\u65e5\u672c", "caf\u00e9 \u0434\u043e\u043c"]
)
def test_p19_other_alphabets(text: str) -> None:
    """P-19: a word of another alphabet is what it is."""
    assert codes(toml(f'subject = "{text}"', SOMEBODY)) == []


def test_p06_wildcards() -> None:
    """P-06: a star in a value stands for itself, which is said where it is."""
    found = findings(toml('subject = "x"\n[claims]\nref = ["main", "release-*"]\nn = 1', SOMEBODY))
    assert [(one.code, one.path) for one in found] == [("wildcard", "claims.ref")]


@pytest.mark.parametrize(
    ("scopes", "tags", "expected"),
    [
        ('"auth_keys"', "", [("security", "scope-needs-tags", "allowed_scopes")]),
        ('"devices:core"', "", [("security", "scope-needs-tags", "allowed_scopes")]),
        ('"auth_keys"', 'allowed_tags = ["tag:ci"]', []),
        ('"dns"', 'allowed_tags = ["tag:ci"]', [("advice", "idle-tags", "allowed_tags")]),
        ('"policy_file:read"', "", [("advice", "companion-scopes", "allowed_scopes")]),
        ('"policy_file:read", "devices:core:read", "devices:posture_attributes:read"', "", []),
        ('"policy_file:read", "devices:core", "devices:posture_attributes"', 'allowed_tags = ["tag:ci"]', []),
    ],
)
def test_u07_rights(scopes: str, tags: str, expected: list[tuple[str, str, str]]) -> None:
    """U-07, P-12: scopes that carry tags, tags without such a scope, scopes that are of no use alone."""
    text = toml(f'subject = "x"\n{tags}', SOMEBODY).replace('"dns:read"', scopes)
    assert said(text) == expected


@pytest.mark.parametrize(
    "body",
    [
        r"subject_pattern = '\Qrepo:acme\E.*'",
        (
            "[claims]\nrepository_owner_id = '1'\nref = 'refs/heads/r'\nevent_name = 'push'\n"
            "[claim_patterns]\nrepository = '\\Qacme\\E.*'"
        ),
    ],
)
def test_a_pattern_that_is_not_read(body: str) -> None:
    """Of a pattern that is not read, nothing is said: it may be good."""
    assert codes(toml(body)) == []
