"""Tests of policies, as they stand beside them in `*.test.toml` files. Pure.

A test is a token's claims, what is asked for, and what must come of it. It goes through the evaluator of the service.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from tailsts.errors import FileError, StrictJsonError
from tailsts.fixtures import UnknownFixtureError, at, fixture
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import decode as decode_token
from tailsts.policy.asked import Unfit, read_wanted
from tailsts.policy.decide import Consult, Grant, Refusal, Wanted
from tailsts.policy.explain import Case, Explanation, by_keys, explain, usual_algorithm
from tailsts.policy.finding import Page
from tailsts.policy.model import Generation, Trust
from tailsts.policy.parse import read_toml
from tailsts.policy.reader import Reader
from tailsts.policy.trusted import TrustedIssuers
from tailsts.policy.unsigned import unsigned
from tailsts.strictjson import decode as decode_json

DEFAULT_LIFETIME = 300
_HEADER = re.compile(r"[ \t]*\[\[[ \t]*(?:test|\"test\"|'test')[ \t]*\]\]")


class Trial(msgspec.Struct, frozen=True):
    """One test. `claims` are those of the token; iat and exp are added if missing. `now` is in seconds, None: now.

    `policy` is the one that must grant it, or that must be the nearest to do so; `reason` the code of the denial;
    `opa` what an Open Policy Agent is taken to say; `keys_of` the policy whose source of keys verifies the token.
    """

    name: str
    file: str
    line: int | None
    claims: Mapping[str, object]
    wanted: Wanted | Unfit
    expect: Literal["allow", "deny"]
    policy: str | None = None
    reason: str | None = None
    algorithm: str | None = None
    now: float | None = None
    opa: bool | None = None
    keys_of: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What came of a test. `fault` says why it failed; '' if it passed."""

    trial: Trial
    explanation: Explanation
    fault: str


def read_trials(page: Page, named: Callable[[str], bytes]) -> list[Trial]:
    """Read the tests on a page; what is wrong is noted on it. `named` reads a `claims_file`, or raises FileError."""
    table = read_toml(page)
    if table is None:
        return []
    top = Reader(table, page)
    tables = top.tables("test")
    top.refuse_unknown()
    lines = [number for number, line in enumerate(page.text.split("\n"), 1) if _HEADER.match(line)]
    trials: list[Trial] = []
    for position, reader in enumerate(tables):
        line = lines[position] if len(lines) == len(tables) else None
        before = len(page.findings)
        trials.append(_read(reader, page.file, line, named))
        reader.refuse_unknown()
        page.findings[before:] = [msgspec.structs.replace(found, line=line) for found in page.findings[before:]]
    return [] if page.findings else trials


def run(trial: Trial, generation: Generation, now: float, trusted: TrustedIssuers | None = None) -> Outcome:
    """Run one test under these policies. `now` is the present, in seconds."""
    moment = now if trial.now is None else trial.now
    claims = {"iat": int(moment), "exp": int(moment) + DEFAULT_LIFETIME, **trial.claims}
    issuer = claims.get("iss")
    trusts = generation.trusts_of(issuer) if isinstance(issuer, str) else ()
    answers = {} if trial.opa is None else {policy.name: trial.opa for policy in generation.policies}

    def explained(signers: Sequence[Trust]) -> Explanation:
        algorithm = trial.algorithm or usual_algorithm(signers)
        token = decode_token(unsigned(claims, algorithm))
        if isinstance(token, Rejected) and isinstance(trial.wanted, Wanted):
            return Explanation(token, "", ())
        return explain(generation, Case(claims, algorithm, trial.wanted, moment), answers, trusted, signers)

    return _tried(trial, trusts, explained)


def _tried(trial: Trial, trusts: Sequence[Trust], explained: Callable[[Sequence[Trust]], Explanation]) -> Outcome:
    """Return what came of it under the source of keys that the test names, or under each that there is."""
    sources = by_keys(trusts)
    if trial.keys_of is not None:
        sources = {source: signers for source, signers in sources.items() if _has(signers, trial.keys_of)}
        if not sources:
            return Outcome(trial, explained(trusts), f"keys_of: no policy of this issuer is called {trial.keys_of}")
    outcomes = [Outcome(trial, found, _fault(trial, found)) for found in map(explained, sources.values())]
    if len(outcomes) > 1:
        for source, outcome in zip(sources, outcomes, strict=True):
            if outcome.fault:
                said = f"under the keys of {source}: {outcome.fault} (keys_of says whose keys the token is of)"
                return msgspec.structs.replace(outcome, fault=said)
    if not outcomes:
        found = explained(())
        return Outcome(trial, found, _fault(trial, found))
    return outcomes[0]


def _has(trusts: Sequence[Trust], policy: str) -> bool:
    return any(policy in trust.by_name for trust in trusts)


def untested(generation: Generation, outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """Return the names of the policies that no test is allowed by, and of those that no test is denied by."""
    allowing = {each.explanation.verdict.policy for each in outcomes if isinstance(each.explanation.verdict, Grant)}
    denying = {each.explanation.traces[0].policy for each in outcomes if _denied_by_policy(each)}
    names = [policy.name for policy in generation.policies]
    return [name for name in names if name not in allowing], [name for name in names if name not in denying]


def _denied_by_policy(outcome: Outcome) -> bool:
    return isinstance(outcome.explanation.verdict, Refusal) and bool(outcome.explanation.traces)


def _fault(trial: Trial, explanation: Explanation) -> str:
    verdict = explanation.verdict
    if isinstance(verdict, Consult):
        return f"policy {verdict.policy} asks an Open Policy Agent: say opa = true or opa = false"
    if isinstance(verdict, Grant):
        if trial.expect == "deny":
            return f"expected a denial, but policy {verdict.policy} allows it"
        if trial.policy not in {None, verdict.policy}:
            return f"expected policy {trial.policy} to allow it, but policy {verdict.policy} does"
        return ""
    if trial.expect == "allow":
        return f"expected it to be allowed, but it is denied: {explanation.reason}"
    nearest = explanation.traces[0].policy if explanation.traces else None
    if trial.policy not in {None, nearest}:
        return f"expected policy {trial.policy} to come nearest, but {nearest or 'none'} does"
    if trial.reason not in {None, explanation.reason}:
        return f"expected the reason {trial.reason}, but it is {explanation.reason}"
    return ""


def _read(reader: Reader, file: str, line: int | None, named: Callable[[str], bytes]) -> Trial:
    name = reader.text("name", required=True) or ""
    now = reader.moment("now")
    expect = reader.text("expect", required=True)
    if expect not in {"allow", "deny", None}:
        reader.fault("expect", "expect", 'is neither "allow" nor "deny"', _meant(expect))
    reason = reader.text("reason")
    if reason is not None and expect == "allow":
        reader.fault("contradiction", "reason", 'contradicts expect = "allow"', "remove one of the two")
    asked: dict[str, object] = {
        "scopes": list(reader.list_of_texts("scopes", required=True)),
        "tags": list(reader.list_of_texts("tags")),
    }
    if (policy := reader.text("request_policy")) is not None:
        asked["policy"] = policy
    return Trial(
        name=name,
        file=file,
        line=line,
        claims=_claims(reader, now, named),
        wanted=read_wanted(asked),
        expect="deny" if expect == "deny" else "allow",
        policy=reader.text("policy"),
        reason=reason,
        algorithm=reader.text("algorithm"),
        now=now,
        opa=reader.flag("opa") if reader.has("opa") else None,
        keys_of=reader.text("keys_of"),
    )


def _meant(expect: str | None) -> str:
    lowered = (expect or "").lower()
    near = next((word for word in ("allow", "deny") if lowered[:3] == word[:3]), None)
    near = "deny" if lowered in {"refuse", "refused", "reject", "rejected"} else near
    near = "allow" if lowered in {"grant", "granted"} else near
    return f'did you mean "{near}"?' if near else ""


def _claims(reader: Reader, now: float | None, named: Callable[[str], bytes]) -> Mapping[str, object]:
    """Return the claims: of a fixture or a file, with those of the test itself put over them."""
    own = reader.json_table("claims")
    file, shape = reader.text("claims_file"), reader.text("fixture")
    if file is not None and shape is not None:
        reader.fault("contradiction", "fixture", "contradicts claims_file", "remove one of the two")
    if own is None and file is None and shape is None:
        reader.fault("missing", "claims", "is missing", "claims, claims_file or fixture")
    base: Mapping[str, object] = {}
    if file is not None:
        base = _of_file(reader, file, named)
    elif shape is not None:
        base = _of_fixture(reader, shape, now)
    return {**base, **(own or {})}


def _of_file(reader: Reader, file: str, named: Callable[[str], bytes]) -> Mapping[str, object]:
    try:
        value = decode_json(named(file))
    except (FileError, StrictJsonError) as error:
        reader.fault("named-file", "claims_file", str(error), "a JSON file, relative to the folder of the policies")
        return {}
    if not isinstance(value, dict):
        reader.fault("named-file", "claims_file", "is not a JSON object")
        return {}
    return value


def _of_fixture(reader: Reader, name: str, now: float | None) -> Mapping[str, object]:
    try:
        claims = fixture(name).claims
    except UnknownFixtureError as error:
        reader.fault("fixture", "fixture", str(error), "tailsts fixtures lists them")
        return {}
    if now is not None:
        return at(claims, int(now))
    # Which moment is the present is not known here: without times, those of the run are put in.
    return {claim: value for claim, value in claims.items() if claim not in {"iat", "nbf", "exp"}}
