"""The text of a policy: what people read first stands first, and what is usual is left out."""

import pytest

from fakes.judging import draft
from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.claims import Path, Scalar
from tailsts.policy.draft import Draft
from tailsts.policy.dump import MAX_REMARK, dump, remark_lines, value_text
from tailsts.policy.finding import Page
from tailsts.policy.parse import parse
from tailsts.policy.patterns.pattern import compile_pattern

FULL = r"""description = "All of it."
issuer_pattern = "https://[a-z]+\\.example\\.com"
subject_pattern = "a|b"
audience_pattern = "https://x/.*"
condition = "size(scopes) < 3"
max_lifetime = 90000
max_age = 300
not_before = 2026-01-02T03:04:05Z
not_after = 2026-12-31T18:00:00.500000Z
allowed_scopes = ["auth_keys", "dns"]
allowed_tags = ["tag:a", "tag:b"]
tailnet = "prod"
algorithm = ["ES256", "RS256"]
ca_file = "ca.pem"

[claims]
ref = ["main", "dev"]
protected = true

[claims."kubernetes.io"]
namespace = "ci"

[claims."kubernetes.io".serviceaccount]
name = "runner"

[claim_patterns]
workflow = "deploy-.*"

[opa]
url = "http://127.0.0.1:8181/v1/data/a"
"""


def read(text: str) -> Draft:
    """Return the draft that a text is."""
    page = Page("p.toml", text)
    found = parse("p", page)
    assert page.findings == []
    assert found is not None
    return found


def with_claims(*claims: tuple[Path, Scalar]) -> str:
    """Return the text of a policy from its first table on."""
    text = dump(draft(claims=tuple((path, (value,)) for path, value in claims)))
    return text[text.index("[claims") :]


def test_order() -> None:
    """Who, when, what, keys; then the tables. A text in that order comes back as it was."""
    assert dump(read(FULL)) == FULL


def test_what_is_usual_is_left_out() -> None:
    """A policy with nothing but what it must have has no line more."""
    assert dump(draft()) == 'issuer = "https://i"\nsubject = "s"\naudience = "a"\nallowed_scopes = ["x", "y"]\n'


def test_rare_keys() -> None:
    """Where keys come from, and what is meant to be open, is said as well."""
    made = draft(subject=None, any_subject=True, jwks_url="http://k/j", allow_http=True)
    assert dump(made).splitlines()[1] == "any_subject = true"
    assert dump(made).splitlines()[-2:] == ['jwks_url = "http://k/j"', "allow_http = true"]
    assert dump(draft(jwks_file="keys.json")).splitlines()[-1] == 'jwks_file = "keys.json"'


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ([(("a",), 1), (("b", "c"), 1.0)], "[claims]\na = 1\n\n[claims.b]\nc = 1.0\n"),
        ([(("b", "c"), True)], "[claims.b]\nc = true\n"),
        ([(("b", "c"), 1), (("a",), 1)], "[claims]\nb.c = 1\na = 1\n"),
        ([(("b", "x"), 1), (("b", "c", "d"), 1), (("b", "y"), 1)], "[claims]\nb.x = 1\nb.c.d = 1\nb.y = 1\n"),
        ([(("x.y",), 1), (("",), 1), (('"',), 1)], '[claims]\n"x.y" = 1\n"" = 1\n"\\"" = 1\n'),
    ],
    ids=["nested last", "nested alone", "nested first", "in between", "quoted"],
)
def test_nested_claims(claims: list[tuple[Path, Scalar]], text: str) -> None:
    """Nested claims have tables of their own, where that keeps their order; else dotted keys."""
    assert with_claims(*claims) == text


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999-23:59",
        "1970-01-01T00:00:00Z",
        "2026-02-03T04:05:06.7+01:00",
    ],
)
def test_times(moment: str) -> None:
    """Every time that a file can have comes back, also one that is in no year of UTC that can be written."""
    read_once = read(f"{dump(draft())}not_before = {moment}\n")
    assert read(dump(read_once)) == read_once


def test_no_such_time() -> None:
    """A time that no file can have is refused."""
    with pytest.raises(ValueError, match="no such time"):
        dump(draft(not_before=1e15))


def test_a_long_list_is_written_in_lines() -> None:
    """A list that would be a long line has a line for each of its entries."""
    scopes = [f"scope-number-{number}" for number in range(10, 20)]
    expected = "[\n" + "".join(f'  "{scope}",\n' for scope in scopes) + "]"
    assert value_text(scopes) == expected
    assert value_text(scopes[:3]) == '["scope-number-10", "scope-number-11", "scope-number-12"]'


def test_remarks() -> None:
    """A remark stands above its key, and that of a table above its head."""
    claims = ((("ref",), ("main",)), (("k", "n"), ("ci",)))
    remarks = {
        ("issuer",): ("Whose.",),
        ("claims",): ("Who.", "Really."),
        ("claims", "k", "n"): ("Where.",),
        ("unused",): ("x",),
    }
    expected = (
        '# Whose.\nissuer = "https://i"\naudience = "a"\nallowed_scopes = ["x", "y"]\n\n'
        '# Who.\n# Really.\n[claims]\nref = "main"\n\n[claims.k]\n# Where.\nn = "ci"\n'
    )
    assert dump(draft(subject=None, claims=claims), remarks) == expected


def test_p19_a_remark_stays_a_remark() -> None:
    """P-19: what a token says cannot end a comment's line, hide in it, or fill a page with it."""
    hostile = "acme\nany_subject = true\r\x1b[2J\u202e\x00\u2028"
    (line,) = remark_lines([hostile])
    assert line.isprintable()
    assert read(dump(draft(), {("subject",): (hostile,)})) == read(dump(draft()))
    assert remark_lines(["x" * 5000]) == [f"# {'x' * MAX_REMARK}..."]


def test_p19_a_value_shows_all_that_is_in_it() -> None:
    """P-19: characters that cannot be seen are written as what they are."""
    assert value_text("a\u202eb\tc\u00e9") == '"a\\U0000202Eb\\U00000009cé"'
    patterns = ((("x\x7f",), compile_pattern("\x7f")),)
    made = draft(claim_patterns=patterns, condition=compile_expression("claims.a == 'b'"))
    assert '"x\\u007f" = "\\u007f"' in dump(made)
    assert read(dump(made)) == made
