"""The reader of policies: a file is a generation or has faults, it is dumped and read back, strangers get nothing."""

from tailsts.oidc.verify import VerifiedToken
from tailsts.policy.decide import Grant, Wanted, decide
from tailsts.policy.draft import Draft
from tailsts.policy.dump import dump
from tailsts.policy.finding import Page, Severity
from tailsts.policy.model import Generation
from tailsts.policy.parse import parse
from tailsts.policy.places.sheaf import MAX_POLICY_BYTES, of_commit
from tailsts.policy.store import Loaded, Options, compile_sheaf

MODULES = ["tailsts.policy", "tailsts.scopes"]
WORDS = (
    *("issuer = ", "issuer_pattern = ", "subject = ", "subject_pattern = ", "any_subject = true", "audience = "),
    *(
        "audience_pattern = ",
        "condition = ",
        "[claims]\n",
        "[claim_patterns]\n",
        "[opa]\n",
        "url = ",
        "max_lifetime = ",
    ),
    *(
        "max_age = ",
        "not_before = ",
        "not_after = ",
        "allowed_scopes = ",
        "allowed_tags = ",
        "tailnet = ",
        "algorithm = ",
    ),
    *(
        "jwks_url = ",
        "jwks_file = ",
        "ca_file = ",
        "allow_http = true",
        "single_use = true",
        "rate_limit = ",
        '"60/minute"',
    ),
    *(
        '"https://',
        '"http://localhost"',
        '"tag:ci"',
        '"auth_keys"',
        '"keys.json"',
        '"ca.pem"',
        '"ES256"',
        "1e400",
        "nan",
    ),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999-23:59",
        "1979-05-27",
        '"""',
        "'''",
        "\\u0000",
        "\\U00110000",
    ),
    *(
        "claims.",
        "scopes",
        "tags",
        "now",
        "size(",
        "matches(",
        ".exists(x, x == ",
        "&&",
        "||",
        "!",
        " in ",
        "timestamp(",
    ),
    *(
        "(?i)",
        "[^/]+",
        ".*",
        "(a|b)",
        r"\\.",
        "{1,1000}",
        r"\\pL",
        "^",
        "$",
        "(?:",
        ")|(",
        "= [",
        "]",
        "[[",
        "]]",
        "# ",
    ),
)
NOW = 1_800_000_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# The example key of RFC 8037, appendix A.2.
KEY_SET = b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'


def check(data: bytes) -> None:
    """Check one input."""
    loaded = load(data)
    _check_findings(loaded)
    strict = compile_sheaf(of_commit("fuzz", COMMIT, _files(data)), Options(strict=True))
    # What strict loads, lax loads too.
    assert strict.generation is None or loaded.generation is not None
    if loaded.generation is None:
        return
    assert len(data) <= MAX_POLICY_BYTES
    draft = _read(data.decode("utf-8"))
    text = dump(draft)
    assert draft == _read(text)
    assert repr(draft.claims) == repr(_read(text).claims)
    _check_strangers(loaded.generation, draft)


def load(data: bytes) -> Loaded:
    """Return what becomes of a folder with this file as its only policy."""
    return compile_sheaf(of_commit("fuzz", COMMIT, _files(data)), Options())


def _files(data: bytes) -> dict[str, bytes]:
    return {"p.toml": data, "keys.json": KEY_SET, "ca.pem": b"no certificate"}


def _check_findings(loaded: Loaded) -> None:
    faults = [finding for finding in loaded.findings if finding.severity is Severity.FAULT]
    assert (loaded.generation is None) is bool(faults)
    for finding in loaded.findings:
        # One line each, that steers no terminal and comes from a file that is there.
        assert str(finding).isprintable()
        assert finding.file == "p.toml"


def _read(text: str) -> Draft:
    page = Page("p.toml", text)
    draft = parse("p", page)
    assert draft is not None, page.findings
    return draft


def _check_strangers(generation: Generation, draft: Draft) -> None:
    """Check that nobody gets what the policy does not allow, and that a policy that pins a subject pins it."""
    issuer = draft.issuer or "https://stranger.example.com"
    subject = f"{draft.subject or ''}x"
    # No claim can be equal to what a policy asks for: there are none.
    token = VerifiedToken(
        issuer=issuer,
        subject=subject,
        audiences=tuple(sorted(draft.audiences)),
        algorithm=min(draft.algorithms),
        issued_at=NOW,
        expires_at=NOW + 60,
        claims={"iss": issuer, "sub": subject, "exp": NOW + 60},
    )
    for scope in ("all", "dns:read", *sorted(draft.allowed_scopes)[:3]):
        outcome = decide(generation.all_trusts(), token, Wanted((scope,), (), None), NOW)
        if isinstance(outcome, Grant):
            assert outcome.scopes == (scope,)
            assert scope in draft.allowed_scopes
            assert draft.subject is None
            assert not draft.claims
            assert not draft.claim_patterns
