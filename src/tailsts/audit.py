"""One event for each exchange, whatever its outcome, and its line in the log. Pure.

What is never in it: a token, a part of one, its signature, a secret. Everything that a stranger can choose is cut to
a bounded length and escaped, so that one event is one line.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

MAX_TEXT = 256
MAX_NESTED = 512
MAX_SCOPES = 20

# The time of a stage that was not reached. The encoder leaves out what *is* the default, not what equals it.
NOT_REACHED = 0.0

# The claims that name the workload for a person who reads the log: the registered ones (RFC 7519, 4.1), and those
# by which the usual issuers tell one run from another.
CHOSEN_CLAIMS = frozenset(
    {
        "aud",
        "azp",
        "exp",
        "iat",
        "jti",
        "nbf",
        # GitHub Actions
        "actor",
        "environment",
        "event_name",
        "job_workflow_ref",
        "ref",
        "repository",
        "repository_id",
        "run_attempt",
        "run_id",
        "workflow_ref",
        # GitLab CI
        "job_id",
        "namespace_id",
        "pipeline_id",
        "project_id",
        "project_path",
        "ref_protected",
        # Buildkite, HCP Terraform, Google
        "email",
        "organization_slug",
        "pipeline_slug",
        "terraform_run_id",
        "terraform_workspace_id",
        # Kubernetes
        "kubernetes.io",
    },
)


# Of a token that nobody verified: what is needed to find it again. A stranger must not fill a disk.
UNVERIFIED_CLAIMS = frozenset({"aud", "exp", "iat", "jti", "nbf"})


class Event(msgspec.Struct, gc=False, omit_defaults=True, tag_field="event", tag="exchange"):
    """What happened in one exchange; filled in as it goes on. Members that hold nothing are left out of its line.

    `time` is that of the beginning, from `timestamp`. `outcome` is granted, rejected (not to be trusted), refused
    (trusted, not allowed), malformed (no such request), unavailable, fault or aborted; `reason` is its code. `issuer`,
    `subject` and `claims` are the token's own words and, unless `verified`, may be a lie. `token_sha256` is the
    fingerprint of the minted token; `misses` has, for each of the policies that came nearest to a refused request, the
    check that failed, with what was expected and what the token has; `would_refuse` is the reason for which an
    allow-list that only watches would have refused it; `undelivered` is true if its caller is known to have left
    before it came. The times of the stages are in milliseconds; `record_ms` only of a wait that was in vain, since an
    event cannot say how long it took to write it.
    """

    time: str
    decision: str
    generation: str
    peer: str
    user_agent: str
    level: str = ""
    outcome: str = ""
    reason: str = ""
    detail: str = ""
    verified: bool = False
    issuer: str = ""
    subject: str = ""
    claims: Mapping[str, object] = {}
    policy: str = ""
    tailnet: str = ""
    misses: Sequence[Mapping[str, str]] = ()
    would_refuse: str = ""
    requested_policy: str = ""
    requested_tags: tuple[str, ...] = ()
    granted_tags: tuple[str, ...] = ()
    requested_scopes: tuple[str, ...] = ()
    granted_scopes: tuple[str, ...] = ()
    token_sha256: str = ""
    undelivered: bool = False
    keys_ms: float = NOT_REACHED
    verify_ms: float = NOT_REACHED
    decide_ms: float = NOT_REACHED
    opa_ms: float = NOT_REACHED
    claim_ms: float = NOT_REACHED
    mint_ms: float = NOT_REACHED
    record_ms: float = NOT_REACHED

    def tidy(self) -> None:
        """Keep of the claims what the log keeps, and bring everything to its size. Once, when all is filled in."""
        claims, chosen = self.claims, CHOSEN_CLAIMS if self.verified else UNVERIFIED_CLAIMS
        self.issuer = _text(claims.get("iss"))
        self.subject = _text(claims.get("sub"))
        self.claims = {
            name: value if type(value) is str and len(value) <= MAX_TEXT else _bounded(value)
            for name, value in claims.items()
            if name in chosen
        }
        self.requested_scopes = _cut_each(self.requested_scopes)
        self.granted_scopes = _cut_each(self.granted_scopes)
        self.requested_tags = _cut_each(self.requested_tags)
        self.granted_tags = _cut_each(self.granted_tags)
        self.user_agent = _cut(self.user_agent)
        self.peer = _cut(self.peer)
        # To whole microseconds; round() would take as long as all of the above.
        self.keys_ms = int(self.keys_ms * 1000 + 0.5) / 1000 or NOT_REACHED
        self.verify_ms = int(self.verify_ms * 1000 + 0.5) / 1000 or NOT_REACHED
        self.decide_ms = int(self.decide_ms * 1000 + 0.5) / 1000 or NOT_REACHED
        self.opa_ms = int(self.opa_ms * 1000 + 0.5) / 1000 or NOT_REACHED
        self.mint_ms = int(self.mint_ms * 1000 + 0.5) / 1000 or NOT_REACHED
        # Of few exchanges.
        self.claim_ms = (self.claim_ms and int(self.claim_ms * 1000 + 0.5) / 1000) or NOT_REACHED
        self.record_ms = (self.record_ms and int(self.record_ms * 1000 + 0.5) / 1000) or NOT_REACHED


def json_line(event: Event) -> bytes:
    """Return the event as one line of JSON in ASCII, ended by a line feed."""
    line = _ENCODER.encode(event)
    if not line.isascii():
        # Some readers take U+2028 and its like for the end of a line.
        line = json.dumps(msgspec.to_builtins(event), separators=(",", ":")).encode()
    # The one control character that JSON lets stand; it can only be within a string.
    return line.replace(b"\x7f", b"\\u007f") + b"\n"


def console_line(event: Event) -> bytes:
    """Return the event as one line in ASCII, ended by a line feed: what people look for first, then all of it."""
    headline = f"{event.time} [{event.level:<7}] {event.outcome} reason={event.reason}"
    if event.policy:
        headline += f" policy={_quoted(event.policy)}"
    if event.subject:
        headline += f" {'' if event.verified else 'unverified_'}subject={_quoted(event.subject)}"
    return headline.encode() + b" " + json_line(event)


def timestamp(seconds: float) -> str:
    """Return the time as RFC 3339 in UTC with milliseconds."""
    whole = int(seconds)
    return f"{_date_and_time(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=16)
def _date_and_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(value: object) -> str:
    return _cut(value) if isinstance(value, str) else ""


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _cut_each(texts: tuple[str, ...]) -> tuple[str, ...]:
    if len(texts) > MAX_SCOPES:
        texts = (*texts[:MAX_SCOPES], f"... and {len(texts) - MAX_SCOPES} more")
    return texts if sum(map(len, texts)) <= MAX_TEXT else tuple(map(_cut, texts))


def _bounded(value: object) -> object:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, list | dict):
        text = json.dumps(value, separators=(",", ":"))
        return value if len(text) <= MAX_NESTED else _cut(text)
    return value


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")


_ENCODER = msgspec.json.Encoder()
_PLAIN = re.compile(r"[!#-\[\]-~]+")
