"""Whose tokens a policy is about, told from the issuer that it names, or else from what it asks of them. Pure."""

from functools import lru_cache

from tailsts.policy.draft import Draft
from tailsts.policy.judging.example import examples
from tailsts.policy.judging.known_ci import BITBUCKET, BUILDKITE, CIRCLECI, GITHUB, GITLAB, TERRAFORM
from tailsts.policy.judging.known_cloud import AKS, AWS, ENTRA, ENTRA_V1, FLY, GOOGLE, KUBERNETES
from tailsts.policy.judging.providers import Provider

PROVIDERS = (
    GITHUB,
    GITLAB,
    BUILDKITE,
    CIRCLECI,
    TERRAFORM,
    BITBUCKET,
    GOOGLE,
    AWS,
    KUBERNETES,
    AKS,
    ENTRA,
    ENTRA_V1,
    FLY,
)
# These run on servers of one's own as well, under any name, and are told by their subjects and claims.
_BY_SUBJECT = (("project_path:", GITLAB), ("system:serviceaccount:", KUBERNETES))
_BY_CLAIM = {
    "project_path": GITLAB,
    "namespace_path": GITLAB,
    "kubernetes.io": KUBERNETES,
    "terraform_organization_id": TERRAFORM,
    "terraform_organization_name": TERRAFORM,
}


def provider_of(draft: Draft) -> Provider | None:
    """Return who probably makes the tokens that a policy is about."""
    issuers = (draft.issuer,) if draft.issuer_pattern is None else examples(draft.issuer_pattern)
    return next(filter(None, map(provider_of_issuer, issuers)), None) or _by_shape(draft)


@lru_cache(256)
def provider_of_issuer(issuer: str) -> Provider | None:
    """Return who runs the issuer, if that can be told from its name."""
    return next((provider for provider in PROVIDERS if provider.issuers.fullmatch(issuer)), None)


def _by_shape(draft: Draft) -> Provider | None:
    subject = draft.subject or ("" if draft.subject_pattern is None else draft.subject_pattern.text)
    for start, provider in _BY_SUBJECT:
        if subject.startswith(start):
            return provider
    asked = (path[0] for path, _ in (*draft.claims, *draft.claim_patterns))
    return next((_BY_CLAIM[name] for name in asked if name in _BY_CLAIM), None)
