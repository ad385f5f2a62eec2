"""Policies that are made for tokens, judged as the service would judge them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tailsts.authoring.services import recognise
from tailsts.authoring.sketch import Service
from tailsts.authoring.texts import Choices, Written, write
from tailsts.fixtures import at
from tailsts.oidc.source import Discovery, JwksFile
from tailsts.oidc.verify import VerifiedToken, assume_signed
from tailsts.policy.build import build
from tailsts.policy.decide import Consult, Grant, Refusal, Wanted, decide
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page
from tailsts.policy.model import Policy, assemble
from tailsts.policy.parse import parse
from tailsts.policy.places.sheaf import File, Sheaf
from tailsts.policy.store import Options, compile_sheaf

NOW = 1_800_000_000
SCOPES = ("auth_keys", "dns:read")
TAGS = ("tag:ci",)


def made(claims: Mapping[str, object], service: Service | None = None, **choices: Any) -> Written:  # noqa: ANN401
    """Return what is written for these claims, with the usual rights."""
    return write(service or recognise(claims), claims, Choices(**{"scopes": SCOPES, "tags": TAGS, **choices}))


def draft_of(written: Written) -> Draft:
    """Return the draft that the text of the policy is."""
    page = Page("p.toml", written.policy)
    found = parse(written.name, page)
    assert page.findings == []
    assert found is not None
    return found


def policy_of(written: Written) -> Policy:
    """Return the policy."""
    return build(draft_of(written), Discovery(), ())


def verdict(policy: Policy, claims: Mapping[str, object], algorithm: str = "RS256") -> Grant | Refusal | Consult:
    """Return what the service would say of a token that was made just now."""
    token = assume_signed(at(claims, NOW), algorithm, NOW)
    assert isinstance(token, VerifiedToken)
    return decide(assemble([policy], "d").trusts_of(policy.issuer.name), token, Wanted(SCOPES), NOW)


def examples_of(written: Written) -> list[dict[str, Any]]:
    """Return the tables of its tests."""
    tables: list[dict[str, Any]] = tomllib.loads(written.tests)["test"]
    return tables


def codes(written: Written) -> set[str]:
    """Return what keeps a strict server from loading it."""
    file = File(written.name, "p.toml", written.policy.encode())
    sheaf = Sheaf("", [file], (), lambda _: b"", key_file=lambda name: JwksFile(Path(name)))
    findings = compile_sheaf(sheaf, Options(strict=True)).findings
    return {finding.code for finding in findings if finding.severity == "fault"}
