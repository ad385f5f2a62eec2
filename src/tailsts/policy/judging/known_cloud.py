"""What is known of the tokens of clouds and clusters, as their own documentation describes them. Pure data.

All values are made up, and odd on purpose: no policy names them by accident.
"""

import re
from collections.abc import Mapping

from tailsts.policy.judging.providers import STRANGE_NUMBER, STRANGE_UUID, Provider, paths, texts

GOOGLE = Provider(
    name="Google",
    issuers=re.compile(r"https://accounts\.google\.com"),
    samples=("https://accounts.google.com",),
    claims=texts("azp", STRANGE_NUMBER)
    | {
        ("email",): "z.q@kumquat.example",
        ("email_verified",): True,
        ("google", "compute_engine", "instance_confidentiality"): 1,
        ("google", "compute_engine", "instance_creation_timestamp"): 1,
        ("google", "compute_engine", "instance_id"): STRANGE_NUMBER,
        ("google", "compute_engine", "instance_name"): "kumquat",
        ("google", "compute_engine", "project_id"): "walnut-zq",
        ("google", "compute_engine", "project_number"): 90210,
        ("google", "compute_engine", "zone"): "us-central1-c",
    },
    subject=re.compile(r"(?P<account>\d+)"),
    usual="the account's number: an address belongs into email",
    only=True,
    parts={"account": STRANGE_NUMBER},
    forms=("{account}",),
    chosen=frozenset(
        {
            ("email_verified",),
            ("google", "compute_engine", "instance_confidentiality"),
            ("google", "compute_engine", "instance_name"),
            ("google", "compute_engine", "zone"),
        }
    ),
    ids=frozenset(
        {("azp",), ("google", "compute_engine", "project_number"), ("google", "compute_engine", "instance_id")}
    ),
    id_advice="pin the subject, the account's number: an address can be given to another account",
    subject_is_id=re.compile(r"\d+"),
)

_AWS = "https://sts.amazonaws.com/"
AWS = Provider(
    name="AWS",
    issuers=re.compile(r"https://[0-9a-z-]+\.tokens\.sts\.global\.api\.aws"),
    samples=(f"https://{STRANGE_UUID}.tokens.sts.global.api.aws",),
    claims={
        ("jti",): STRANGE_UUID,
        (_AWS, "aws_account"): STRANGE_NUMBER,
        (_AWS, "source_region"): "us-east-1",
        (_AWS, "org_id"): "o-kumquat",
        (_AWS, "ou_path"): [],
        (_AWS, "lambda_source_function_arn"): "kumquat",
    },
    prefixes=("principal_tags", "request_tags"),
    subject=re.compile(r"arn:aws[a-z-]*:(?:iam|sts)::(?P<account>\d*):(?P<principal>.+)"),
    usual="the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME",
    only=True,
    parts={"principal": "role/kumquat-zq"},
    named={"account": (_AWS, "aws_account")},
    forms=("arn:aws:iam::{account}:{principal}",),
    chosen=frozenset({(_AWS, "source_region")}),
    chosen_parts=frozenset({"principal"}),
    # Whoever asks for a token says which.
    algorithms=frozenset({"RS256", "ES384"}),
)

_KUBERNETES = {
    ("kubernetes.io", "namespace"): "kumquat-zq",
    ("kubernetes.io", "node", "name"): "kumquat-zq",
    ("kubernetes.io", "node", "uid"): STRANGE_UUID,
    ("kubernetes.io", "pod", "name"): "kumquat-zq",
    ("kubernetes.io", "pod", "uid"): STRANGE_UUID,
    ("kubernetes.io", "serviceaccount", "name"): "kumquat-zq",
    ("kubernetes.io", "serviceaccount", "uid"): STRANGE_UUID,
    ("kubernetes.io", "warnafter"): 1,
    ("jti",): STRANGE_UUID,
}
_CLUSTERS = (
    r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[0-9A-Z]+",
    r"https://container\.googleapis\.com/v1/projects/[^/]+/locations/[^/]+/clusters/[^/]+",
    r"https://kubernetes\.default\.svc(\.cluster\.local)?",
)


def _cluster(issuers: str, samples: tuple[str, ...], whose: Mapping[str, str]) -> Provider:
    return Provider(
        name="Kubernetes",
        issuers=re.compile(issuers),
        samples=samples,
        whose=tuple((re.compile(part), stranger) for part, stranger in whose.items()),
        claims=_KUBERNETES,
        subject=re.compile(r"system:serviceaccount:(?P<namespace>[^:]+):(?P<account>[^:]+)"),
        beginning=re.compile(r"system:serviceaccount:(?P<namespace>[^:]+)"),
        usual="system:serviceaccount:NAMESPACE:NAME",
        only=True,
        named={
            "namespace": ("kubernetes.io", "namespace"),
            "account": ("kubernetes.io", "serviceaccount", "name"),
        },
        forms=("system:serviceaccount:{namespace}:{account}",),
        chosen=frozenset(path for path in _KUBERNETES if path[-1] in {"name", "namespace"}),
        # A cluster of one's own signs with the key that it is given.
        algorithms=frozenset({"RS256", "ES256", "ES384", "ES512"}),
    )


KUBERNETES = _cluster(
    "|".join(_CLUSTERS),
    (
        "https://oidc.eks.us-west-2.amazonaws.com/id/7A1FC7F505D24A5E8F0011AA22BB33CC",
        "https://container.googleapis.com/v1/projects/walnut-zq/locations/europe-west1/clusters/kumquat",
    ),
    {r"(?<=/id/)[0-9A-Z]+": "7A1FC7F505D24A5E8F0011AA22BB33CC", r"(?<=/v1/projects/)[^/]+": "walnut-zq"},
)
AKS = _cluster(
    r"https://[a-z0-9-]+\.oic\.prod-aks\.azure\.com/[^/]+/[^/]+/",
    (f"https://eastus.oic.prod-aks.azure.com/{STRANGE_UUID}/{STRANGE_UUID}/",),
    {r"(?<=azure\.com/)[^/]+/[^/]+(?=/)": f"{STRANGE_UUID}/{STRANGE_UUID}"},
)


def _entra(issuers: str, sample: str) -> Provider:
    applications = dict.fromkeys(paths("azp appid"), "it may be allowed in other tenants too")
    return Provider(
        name="Microsoft Entra ID",
        issuers=re.compile(issuers),
        samples=(sample,),
        claims=texts("aio appid appidacr azp azpacr idp idtyp oid rh tid uti ver xms_mirid", STRANGE_UUID)
        | {("roles",): [], ("groups",): []},
        subject=re.compile(r"(?P<principal>.+)"),
        usual="the id of a service principal",
        parts={"principal": STRANGE_UUID},
        forms=("{principal}",),
        chosen=paths("azpacr appidacr idtyp ver"),
        weak=applications,
    )


ENTRA = _entra(
    r"https://login\.microsoftonline\.com/[^/]+/v2\.0",
    f"https://login.microsoftonline.com/{STRANGE_UUID}/v2.0",
)
ENTRA_V1 = _entra(r"https://sts\.windows\.net/[^/]+/", f"https://sts.windows.net/{STRANGE_UUID}/")

FLY = Provider(
    name="Fly.io",
    issuers=re.compile(r"https://oidc\.fly\.io/[^/]+"),
    samples=("https://oidc.fly.io/walnut-zq",),
    claims=texts(
        "app_id app_name image image_digest jti machine_id machine_name machine_version org_id org_name region"
    ),
    subject=re.compile(r"(?P<org>[^:]+):(?P<app>[^:]+):(?P<machine>[^:]+)"),
    beginning=re.compile(r"(?P<org>[^:]+):(?P<app>[^:]+)"),
    usual="ORG:APP:MACHINE",
    only=True,
    named={"org": ("org_name",), "app": ("app_name",), "machine": ("machine_name",)},
    forms=("{org}:{app}:{machine}",),
    chosen=paths("image image_digest machine_name region"),
    ids=paths("app_id org_id machine_id"),
    id_advice="pin app_id and org_id in [claims]",
)
