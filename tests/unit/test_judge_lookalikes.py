"""P-09, P-10: strangers who choose their names to fit, and texts that are looked for anywhere."""

import pytest

from tailsts.policy.cel.expression import compile_expression
from tailsts.policy.finding import Page
from tailsts.policy.parse import parse
from unit.advising import GITHUB, GITLAB, SOMEBODY, codes, findings, said, toml

GOOGLE = "https://accounts.google.com"
BUILDKITE = "https://agent.buildkite.com"
TERRAFORM = "https://app.terraform.io"
CIRCLECI = "https://oidc.circleci.com"


def condition(text: str) -> str:
    """Return the body of a policy with this condition alone."""
    return f"condition = '{text}'"


@pytest.mark.parametrize(
    ("issuer", "body"),
    [
        (GITHUB, "subject_pattern = 'repo:.*/infra:.*'"),
        (GITHUB, "subject_pattern = 'repo:[^:]+/infra:ref:refs/heads/main'"),
        (GITHUB, "subject_pattern = '.*acme/infra.*'"),
        (GITHUB, "subject_pattern = 'repo:(acme|umbrella)-?[a-z]*/.*'"),
        (GITHUB, "[claim_patterns]\nrepository = 'acme[^/]*/infra'"),
        (GITHUB, condition('claims.repository_owner.matches("acme")')),
        (GITHUB, condition('claims.repository.contains("acme/infra") || claims.sub.contains("acme/infra")')),
        (GITHUB, condition('claims.repository_owner.startsWith("acme")')),
        (GITHUB, condition('claims.sub.startsWith("repo:acme")')),
        (GITHUB, condition('claims.repository.endsWith("infra")')),
        (GITHUB, condition('!(claims.environment == "dev")')),
        (GITLAB, condition('claims.project_path.matches("acme")')),
        (GITLAB, condition('claims.user_email.endsWith("@acme.com")')),
        (GITLAB, condition('claims.ref.contains("acme") || claims.sub.contains("acme")')),
        (GOOGLE, condition('claims.email.endsWith("acme.com-evil") || claims.email.startsWith("alice")')),
        (BUILDKITE, condition('claims.organization_slug.startsWith("acme")')),
        (BUILDKITE, condition('claims.build_branch.contains("acme")')),
        (BUILDKITE, "subject_pattern = '.*acme.*'"),
        (TERRAFORM, condition('claims.terraform_organization_name.contains("acme")')),
        (CIRCLECI, condition('claims["oidc.circleci.com/vcs-ref"].contains("acme")')),
    ],
)
def test_p10_lookalikes(issuer: str, body: str) -> None:
    """P-10: at a shared issuer, who can take a name, a branch or an address that fits is a stranger who passes."""
    assert ("fault", "shared-issuer", body.partition(" =")[0].strip("[]").partition("]")[0]) in said(toml(body, issuer))


@pytest.mark.parametrize(
    ("issuer", "body"),
    [
        (GITHUB, condition('claims.sub.startsWith("repo:acme/")')),
        (GITHUB, condition('claims.repository.matches("^acme/infra$")')),
        (GOOGLE, condition('claims.email.endsWith("@acme.com")')),
    ],
)
def test_p10_condition_alone(issuer: str, body: str) -> None:
    """P-10: a condition that looks at parts of texts should not be all that says who comes."""
    assert ("security", "condition-alone", "condition") in said(toml(body, issuer))


@pytest.mark.parametrize(
    "body",
    [
        condition('claims.repository_owner_id == "1" && claims.ref.startsWith("refs/heads/v")'),
        condition('"1" == claims["repository_owner_id"] && claims.ref.startsWith("refs/heads/v")'),
        condition('claims.ref.startsWith("refs/heads/v")') + '\n[claims]\nrepository_owner_id = "1"',
        'subject = "repo:acme@1/infra@2:pull_request"\n' + condition('claims.ref.startsWith("refs/pull/")'),
    ],
)
def test_p10_condition_beside_names(body: str) -> None:
    """P-10: beside an id or a subject it may."""
    assert not {"condition-alone", "shared-issuer"} & set(codes(toml(body)))


@pytest.mark.parametrize(
    ("issuer", "name"),
    [
        (BUILDKITE, "claims.organization_slug"),
        (TERRAFORM, "claims.terraform_organization_name"),
        (CIRCLECI, 'claims["oidc.circleci.com/org-id"]'),
    ],
)
def test_p10_whole_names(issuer: str, name: str) -> None:
    """P-10: nobody but its owner has the whole of a name."""
    assert not {"condition-alone", "shared-issuer"} & set(codes(toml(condition(f'{name} == "acme"'), issuer)))


def test_p10_conditions_are_as_claims() -> None:
    """I-03, I-04: what a condition compares by == is judged as the same under [claims]."""
    assert ("advice", "names-alone", "condition") in said(toml(condition('claims.repository_owner == "acme"')))
    assert ("security", "weak-claim", "condition") in said(toml(condition('claims.actor == "alice"')))


def test_equals() -> None:
    """What is compared is told by its path; what is no claim is not told."""
    text = 'claims.a["b.c"].d == "x" && "y" == claims.e && tags[0] == "t" && string(claims.f) == "z" && "s" == "s"'
    assert compile_expression(text).equals == ((("a", "b.c", "d"), "x"), (("e",), "y"))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("acme", True),
        ("^acme", True),
        ("acme$", True),
        (r"^acme\\$", True),
        ("^acme|infra$", True),
        ("^acme$", False),
        (r"\\Aacme\\z", False),
        ("^(acme|infra)$", False),
        (r"^[|]\\|$", False),
    ],
)
def test_p09_unanchored(pattern: str, found: bool) -> None:
    """P-09: `matches` looks anywhere, unless both ends are said."""
    body = f'subject = "x"\ncondition = \'claims.team.matches("{pattern}")\''
    assert (codes(toml(body, SOMEBODY)) == ["unanchored-match"]) is found


@pytest.mark.parametrize(
    ("issuer", "claim"),
    [
        (GITHUB, 'ref = "main"'),
        (GITHUB, 'ref = ["refs/heads/main", "refs/head/main"]'),
        (GITHUB, 'ref_protected = "True"'),
        (GITHUB, 'event_name = "Push"'),
        (GITHUB, 'repository = "infra"'),
        (GITHUB, 'tailnet = "prod"'),
        (GITLAB, 'ref = "refs/heads/main"'),
        (GITLAB, 'ref_path = "main"'),
        (GITLAB, 'project_path = "infra"'),
    ],
)
def test_claim_forms(issuer: str, claim: str) -> None:
    """A value of a form that the issuer never writes is found: no token has it."""
    key = claim.partition(" ")[0]
    assert ("security", "claim-form", f"claims.{key}") in said(toml(f"[claims]\n{claim}", issuer))


def test_wildcards_in_subjects() -> None:
    """P-06: for a known issuer a star in the subject is a mistake, and the pattern is shown."""
    (finding,) = [one for one in findings(toml('subject = "repo:acme/in?ra.*:*"')) if one.code == "subject-wildcard"]
    assert r"'repo:acme/in[^/:]ra\.[^/:]+:.+'" in finding.advice
    assert said(toml('subject = "a*"', SOMEBODY)) == [("advice", "wildcard", "subject")]


def test_clusters() -> None:
    """The name that clusters have by default is that of the cluster around TailSTS, unless keys are named."""
    text = toml('subject = "system:serviceaccount:ci:a"', "https://kubernetes.default.svc")
    assert "cluster-issuer" in codes(text)
    assert "cluster-issuer" not in codes(f'jwks_url = "https://k.example.com/jwks"\n{text}')


@pytest.mark.parametrize("audience", ["api.tailscale.com/kx", "https://api.tailscale.com"])
def test_audiences_of_tailscale(audience: str) -> None:
    """U-09: tokens for Tailscale itself were made for Tailscale."""
    assert "foreign-audience" in codes(toml('subject = "x"', SOMEBODY, audience=f'audience = "{audience}"'))


def test_keys_below_a_table() -> None:
    """A key of the policy below [claims] is named with the line of the table, and so is what is missing for it."""
    page = Page("p.toml", 'issuer = "https://a.example"\n\n[claims]\nteam = "x"\nallowed_scopes = ["dns:read"]\n')
    assert parse("p", page) is None
    below, missing = page.findings
    assert (missing.code, missing.advice) == ("missing", "it stands under [claims]: move it above the first [table]")
    assert (below.line, below.message) == (5, "stands under [claims] (line 3), and is a key of the policy")
    inline = Page("p.toml", toml("'cl\\u0061ims' = 1").replace("'cl\\u0061ims' = 1", '"cl\\u0061ims".subject = "x"'))
    parse("p", inline)
    assert inline.findings[0].message == "stands under [claims], and is a key of the policy"


@pytest.mark.parametrize(
    ("body", "line", "message", "advice"),
    [
        ("condition = 'claims.a = 1'", 4, "has an error at its column 10: Syntax error", ""),
        ("condition = '''\ntrue ||\nclaim.a'''", 6, "has an error at its column 6: undeclared reference", ""),
        ("\"c\\u006fndition\" = 'a'", None, "has an error at its column 1: undeclared reference", ""),
        ("condition = '1'", 4, "must be boolean", ""),
        ("subject_pattern = '(?i)a'", 4, "sets flags", ""),
        ("not_after = 2027-01-01T00:00:00", 4, "has no offset", "without quotes"),
        ("[claim_patterns]\nemail_verified = true", 5, "is true or false, not a string", "move it to [claims]"),
        ("[claim_patterns]\na = [1]", 5, "is a list with other things", ""),
    ],
)
def test_faults_say_where(body: str, line: int | None, message: str, advice: str) -> None:
    """Faults are on their line of the file, and read after the key."""
    page = Page("p.toml", toml(body))
    assert parse("p", page) is None
    (finding,) = [one for one in page.findings if one.code != "shared-issuer"]
    assert (finding.line, finding.message.startswith(message)) == (line, True), finding
    assert finding.advice.startswith(advice)


def test_scopes_for_writing() -> None:
    """There is no scope for writing alone: the one without an ending is it."""
    text = toml('subject = "x"', SOMEBODY).replace("dns:read", "devices:core:write")
    assert [one.advice for one in findings(text) if one.code == "unknown-scope"] == ["did you mean devices:core?"]
