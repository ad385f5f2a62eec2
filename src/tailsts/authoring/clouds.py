"""Google, AWS, Microsoft Entra ID and Fly.io: what pins a workload's identity. Pure."""

import re

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
    said,
    text,
)

_GOOGLE = "https://accounts.google.com"
_AWS_ISSUER = re.compile(r"https://[a-z0-9-]+\.tokens\.sts\.global\.api\.aws")
# The one claim in which AWS nests all that it says of the session.
_AWS = "https://sts.amazonaws.com/"
_FLY = "https://oidc.fly.io/"
_V1, _V2 = "https://sts.windows.net/", "https://login.microsoftonline.com/"
# Microsoft Graph and Azure Resource Manager: tokens for them are nobody else's.
_MICROSOFT_AUDIENCES = (
    "00000003-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
    "https://graph.microsoft.com/",
    "https://management.azure.com",
    "https://management.azure.com/",
    "https://management.core.windows.net/",
)


def _google(claims: Claims) -> Sketch:
    subject, email = text(claims, "sub"), text(claims, "email")
    again = "the same email, given to another account" if email else "another account, through the same client"
    return Sketch(
        name=name_of("google", email.partition("@")[0] or subject),
        who=f"the Google account {email or subject}",
        subject=f"{email or 'The account'}. The number is never given to another account, as an email can be.",
        neighbours=(
            Neighbour(again, {("sub",): other(subject)}, SUBJECT),
            Neighbour("another account", {("sub",): f"{subject}0", ("azp",): f"{subject}0"}, SUBJECT),
        ),
    )


def _google_claims(values: Said) -> Claims:
    number, email = values["account-id"], values.get("email", "")
    claims: dict[str, object] = {"iss": _GOOGLE, "sub": number, "azp": number}
    return {**claims, "email": email, "email_verified": True} if email else claims


GOOGLE = Service(
    name="google",
    title="Google",
    recognises=lambda claims: text(claims, "iss") == _GOOGLE and has_texts(claims, "sub"),
    sketch=_google,
    claims=_google_claims,
    fields=(
        Field("account-id", "The service account's number: gcloud iam service-accounts describe EMAIL"),
        Field("email", "Its email, for the comments.", ""),
    ),
)


def _aws(claims: Claims) -> Sketch:
    role = text(claims, "sub")
    account, organization = text(claims, _AWS, "aws_account"), text(claims, _AWS, "org_id")
    elsewhere: dict[tuple[str, ...], object] = {
        (_AWS, "aws_account"): other(account),
        ("sub",): role.replace(account, other(account)),
    }
    moved = Neighbour("the role's name in another account", elsewhere, SUBJECT)
    left = Neighbour("the account in another organization", {(_AWS, "org_id"): other(organization)})
    return Sketch(
        name=name_of("aws", role.rpartition("/")[2]),
        who=f"the role {role} of AWS",
        subject="The role. It names the account, and the issuer belongs to that account alone.",
        pins=(
            *pin(claims, (_AWS, "aws_account"), "The account, as a claim of its own."),
            *pin(claims, (_AWS, "org_id"), "The organization that the account belongs to."),
        ),
        neighbours=(
            Neighbour("another role of the account", {("sub",): other(role)}, SUBJECT),
            Neighbour("a role whose name begins so", {("sub",): f"{role}Admin"}, SUBJECT),
            *((moved,) if account else ()),
            *((left,) if organization else ()),
        ),
    )


def _aws_claims(values: Said) -> Claims:
    return {
        "iss": values["issuer"],
        "sub": values["role-arn"],
        _AWS: said(values, {"account-id": "aws_account", "org-id": "org_id"}),
    }


AWS = Service(
    name="aws",
    title="AWS",
    recognises=lambda claims: _AWS_ISSUER.fullmatch(text(claims, "iss")) is not None and has_texts(claims, "sub"),
    sketch=_aws,
    claims=_aws_claims,
    fields=(
        Field("issuer", "The account's issuer: aws iam get-outbound-web-identity-federation-info"),
        Field("role-arn", "The role, like arn:aws:iam::123456789012:role/Deploy."),
        Field("account-id", "The account's number."),
        Field("org-id", "The organization, o-..., if the account is in one.", ""),
    ),
)


def _entra(claims: Claims) -> Sketch:
    application = "azp" if text(claims, "azp") else "appid"
    who = text(claims, "xms_mirid").rpartition("/")[2] or text(claims, application) or text(claims, "oid")
    return Sketch(
        name=name_of("entra", who),
        who=f"{who} in the tenant {text(claims, 'tid')} of Entra ID",
        without_subject="No subject: for a user it depends on the application. These say who.",
        pins=(
            *pin(claims, "tid", "The tenant."),
            *pin(claims, "oid", f"{who}: the identity itself. It is the same for every application."),
            *pin(claims, application, "The application, or managed identity, that got the token."),
            *pin(claims, "idtyp", "An application's own token, never one for a user."),
        ),
        neighbours=(
            Neighbour("another identity of the tenant", {("oid",): other(text(claims, "oid"))}),
            Neighbour("the identity in another tenant", {("tid",): other(text(claims, "tid"))}),
        ),
    )


def _entra_claims(values: Said) -> Claims:
    tenant, version = values["tenant-id"], values["token-version"]
    first = version == "1.0"
    return {
        "iss": f"{_V1}{tenant}/" if first else f"{_V2}{tenant}/v2.0",
        "sub": values["object-id"],
        "tid": tenant,
        "oid": values["object-id"],
        **said(values, {"client-id": "appid" if first else "azp"}),
        "ver": version,
    }


ENTRA = Service(
    name="entra",
    title="Microsoft Entra ID",
    recognises=lambda claims: has_texts(claims, "tid", "oid", "ver"),
    sketch=_entra,
    default_audiences=lambda _: _MICROSOFT_AUDIENCES,
    claims=_entra_claims,
    fields=(
        Field("tenant-id", "The tenant's id."),
        Field("object-id", "The object id of the service principal or managed identity (not of the registration)."),
        Field("client-id", "The application's client id.", ""),
        Field("token-version", "Of the token: managed identities have 1.0, as a rule.", "2.0", ("1.0", "2.0")),
    ),
)


def _fly(claims: Claims) -> Sketch:
    app, organization = text(claims, "app_name"), text(claims, "org_name")
    return Sketch(
        name=name_of("fly", app),
        who=f"the app {app} of {organization} on Fly.io",
        without_subject="No subject: it is made of names, down to the machine's. These say who.",
        pins=(
            *pin(claims, "org_id", f"{organization}. The id stays when the name changes."),
            *pin(claims, "app_id", f"{app}. Every process in its machines can get such a token."),
        ),
        neighbours=(
            Neighbour("another app under the same name", {("app_id",): other(text(claims, "app_id"))}),
            Neighbour("another organization under the same name", {("org_id",): other(text(claims, "org_id"))}),
        ),
    )


def _fly_claims(values: Said) -> Claims:
    organization, app = values["org"], values["app"]
    return {
        "iss": f"{_FLY}{organization}",
        "sub": f"{organization}:{app}:machine",
        "org_name": organization,
        "app_name": app,
        **said(values, {"org-id": "org_id", "app-id": "app_id"}),
    }


FLY = Service(
    name="fly",
    title="Fly.io",
    recognises=lambda claims: text(claims, "iss").startswith(_FLY) and has_texts(claims, "org_id", "app_id"),
    sketch=_fly,
    default_audiences=lambda claims: (f"https://fly.io/{text(claims, 'org_name')}",),
    claims=_fly_claims,
    fields=(
        Field("org", "The organization's name in URLs."),
        Field("org-id", "Its id, as the tokens have it."),
        Field("app", "The app's name."),
        Field("app-id", "Its id, as the tokens have it."),
    ),
)
