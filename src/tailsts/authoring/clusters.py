"""Kubernetes and SPIFFE: what pins a workload of a cluster; and what can be said of a token of nobody known. Pure."""

from tailsts.authoring.sketch import (
    SUBJECT,
    Claims,
    Field,
    Neighbour,
    Said,
    Service,
    Sketch,
    has_texts,
    name_of,
    other,
    pin,
    text,
)

# The one claim in which Kubernetes nests what it says of the pod.
_KUBERNETES = "kubernetes.io"
# Its usual issuer is a name that only the cluster itself can reach.
_INSIDE = "https://kubernetes.default.svc"


def _is_kubernetes(claims: Claims) -> bool:
    return bool(text(claims, _KUBERNETES, "namespace") and text(claims, _KUBERNETES, "serviceaccount", "name"))


def _kubernetes(claims: Claims) -> Sketch:
    namespace = text(claims, _KUBERNETES, "namespace")
    account = text(claims, _KUBERNETES, "serviceaccount", "name")
    elsewhere: dict[tuple[str, ...], object] = {
        ("sub",): f"system:serviceaccount:{other(namespace)}:{account}",
        (_KUBERNETES, "namespace"): other(namespace),
    }
    another: dict[tuple[str, ...], object] = {
        ("sub",): f"system:serviceaccount:{namespace}:{other(account)}",
        (_KUBERNETES, "serviceaccount", "name"): other(account),
    }
    return Sketch(
        name=name_of(namespace, account),
        who=f"the service account {account} in the namespace {namespace} of a cluster",
        subject="Namespace and service account. Many clusters have such a name, each with keys of its own.",
        pins=(*pin(claims, (_KUBERNETES, "namespace"), "Who may make pods here can be this service account."),),
        neighbours=(
            Neighbour("another service account", another, SUBJECT),
            Neighbour("the same name in another namespace", elsewhere, SUBJECT),
        ),
        warnings=_warn_of_keys(claims),
    )


def _warn_of_keys(claims: Claims) -> tuple[str, ...]:
    if text(claims, "iss").startswith(_INSIDE):
        return ("the issuer's keys cannot be looked up outside of the cluster: name --jwks-url, or --jwks-file",)
    return ()


def _kubernetes_claims(values: Said) -> Claims:
    namespace, account = values["namespace"], values["service-account"]
    return {
        "iss": values["issuer"],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        _KUBERNETES: {"namespace": namespace, "serviceaccount": {"name": account}},
    }


def _api_server(claims: Claims) -> tuple[str, ...]:
    # What a token is for that no volume, and no request, names an audience for.
    return (text(claims, "iss"), _INSIDE, f"{_INSIDE}.cluster.local", "k3s", "sts.amazonaws.com")


KUBERNETES = Service(
    name="kubernetes",
    title="Kubernetes",
    recognises=_is_kubernetes,
    sketch=_kubernetes,
    default_audiences=_api_server,
    claims=_kubernetes_claims,
    fields=(
        Field("namespace", "The namespace."),
        Field("service-account", "The service account's name."),
        Field("issuer", "The cluster's issuer: kubectl get --raw /.well-known/openid-configuration"),
    ),
)


def _spiffe(claims: Claims) -> Sketch:
    identity = text(claims, "sub")
    domain = identity.removeprefix("spiffe://").partition("/")[0]
    elsewhere = identity.replace(domain, f"other.{domain}", 1)
    return Sketch(
        name=name_of(identity.removeprefix("spiffe://")),
        who=f"the workload {identity}",
        subject="The SPIFFE ID, exactly: one workload, not what lies below it.",
        neighbours=(
            Neighbour("another workload", {("sub",): other(identity)}, SUBJECT),
            Neighbour("what lies below it", {("sub",): f"{identity}/x"}, SUBJECT),
            Neighbour("the same path in another trust domain", {("sub",): elsewhere}, SUBJECT),
        ),
    )


def _spiffe_claims(values: Said) -> Claims:
    return {"iss": values["issuer"], "sub": values["spiffe-id"]}


SPIFFE = Service(
    name="spiffe",
    title="SPIFFE",
    recognises=lambda claims: text(claims, "sub").startswith("spiffe://"),
    sketch=_spiffe,
    claims=_spiffe_claims,
    # What SPIRE signs with, unless told otherwise.
    algorithm="ES256",
    fields=(
        Field("spiffe-id", "The workload, like spiffe://example.org/ns/ci/sa/runner."),
        Field("issuer", "What SPIRE has as jwt_issuer, where its OIDC discovery provider answers."),
    ),
)


def _unknown(claims: Claims) -> Sketch:
    subject = text(claims, "sub")
    return Sketch(
        name=name_of(subject),
        who=subject,
        subject="All that is known of this issuer. If others can get the name, pin an id of it under [claims] as well.",
        neighbours=(
            Neighbour("another subject", {("sub",): other(subject)}, SUBJECT),
            Neighbour("a subject that begins so", {("sub",): f"{subject}/x"}, SUBJECT),
        ),
        warnings=("this issuer is not known here: look at which of its claims others cannot get",),
    )


UNKNOWN = Service(
    name="other",
    title="another issuer",
    recognises=lambda claims: has_texts(claims, "sub"),
    sketch=_unknown,
    default_audiences=lambda claims: (text(claims, "iss"),),
)
