"""The services whose tokens are known, and which of them a token is from. Pure."""

from collections.abc import Sequence

from tailsts.authoring.clouds import AWS, ENTRA, FLY, GOOGLE
from tailsts.authoring.clusters import KUBERNETES, SPIFFE, UNKNOWN
from tailsts.authoring.forges import GITHUB, GITLAB
from tailsts.authoring.pipelines import BITBUCKET, BUILDKITE, CIRCLECI, TERRAFORM
from tailsts.authoring.sketch import Claims, Service

SERVICES: Sequence[Service] = (
    GITHUB,
    GITLAB,
    KUBERNETES,
    GOOGLE,
    AWS,
    BUILDKITE,
    CIRCLECI,
    TERRAFORM,
    ENTRA,
    BITBUCKET,
    FLY,
    SPIFFE,
)


def recognise(claims: Claims) -> Service:
    """Return the service that a token with these claims is from; for lack of a better one, one that is not known."""
    return next((service for service in SERVICES if service.recognises(claims)), UNKNOWN)
