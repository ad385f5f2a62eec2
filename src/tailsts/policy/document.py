"""The form of a policy's file as types, from which its JSON Schema is made, for editors. Pure.

`parse` is what reads policies, and says more of what is wrong with one.
"""

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tailsts.policy.cel.expression import MAX_LENGTH
from tailsts.policy.claims import MAX_PATH
from tailsts.policy.issuers import MAX_ISSUER_LENGTH
from tailsts.policy.patterns.pattern import MAX_PATTERN_LENGTH
from tailsts.policy.rate import RATE_PATTERN
from tailsts.policy.reader import MAX_DURATION, MAX_TEXT_LENGTH
from tailsts.scopes import MAX_SCOPE_LENGTH

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_LENGTH, pattern=r"^\S([\s\S]*\S)?$")]
_Texts = _Text | Annotated[list[_Text], Meta(min_length=1)]
_Pattern = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_LENGTH)]
_Issuer = Annotated[str, Meta(max_length=MAX_ISSUER_LENGTH, pattern="^https?://[!-~]+$")]
# Printable ASCII without the comma, the quotation mark and the backslash.
_SCOPE_PATTERN = r"^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+$"
_Scopes = Annotated[list[Annotated[str, Meta(max_length=MAX_SCOPE_LENGTH, pattern=_SCOPE_PATTERN)]], Meta(min_length=1)]
_Tags = Annotated[
    list[Annotated[str, Meta(max_length=MAX_SCOPE_LENGTH, pattern="^tag:[A-Za-z][A-Za-z0-9-]*$")]], Meta(min_length=1)
]
_Duration = Annotated[int, Meta(ge=1, le=MAX_DURATION)] | Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}[smhd]$")]
_Rate = Annotated[str, Meta(pattern=f"^{RATE_PATTERN}$")]
_Moment = Annotated[datetime, Meta(tz=True)]
_Algorithm = Literal["ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]
_Algorithms = _Algorithm | Annotated[list[_Algorithm], Meta(min_length=1)]

_Value = str | bool | int | float
_Exact = _Value | Annotated[list[_Value], Meta(min_length=1)]
# A type cannot name itself in a way that msgspec reads, so nesting is written out, to the depth that a policy may have.
# In the schema each refers to itself.
_NestedExact: Any = _Exact
_NestedPattern: Any = _Pattern
for _ in range(MAX_PATH - 1):
    _NestedExact = _Exact | dict[str, _NestedExact]
    _NestedPattern = _Pattern | dict[str, _NestedPattern]


class Opa(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An Open Policy Agent that must agree."""

    url: Annotated[_Text, Meta(description="Where it is asked. https, or http on this machine. Only true is a yes.")]


class PolicyDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may have which Tailscale scopes. All that is named here must hold."""

    description: Annotated[_Text, Meta(description="For people.")] | UnsetType = UNSET
    issuer: (
        Annotated[_Issuer, Meta(description="The token's iss, byte for byte. Copy it from a real token.")] | UnsetType
    ) = UNSET
    issuer_pattern: (
        Annotated[
            _Pattern, Meta(description="In place of issuer: RE2 for the whole of iss. The host's end must be fixed.")
        ]
        | UnsetType
    ) = UNSET
    subject: Annotated[_Text, Meta(description="The token's sub, exactly. No wildcards.")] | UnsetType = UNSET
    subject_pattern: (
        Annotated[_Pattern, Meta(description="In place of subject: RE2 for the whole of sub.")] | UnsetType
    ) = UNSET
    any_subject: (
        Annotated[bool, Meta(description="Says that everybody whom the issuer gives a token is meant.")] | UnsetType
    ) = UNSET
    audience: (
        Annotated[_Texts, Meta(description="One of these must be among the token's aud. Default: the server's.")]
        | UnsetType
    ) = UNSET
    audience_pattern: (
        Annotated[_Pattern, Meta(description="In place of audience: RE2 for the whole of one aud.")] | UnsetType
    ) = UNSET
    claims: (
        Annotated[
            dict[str, _NestedExact],
            Meta(
                min_length=1,
                description="Exact values of claims, nested as in the token. A list: any of these. Types count.",
            ),
        ]
        | UnsetType
    ) = UNSET
    claim_patterns: (
        Annotated[
            dict[str, _NestedPattern],
            Meta(min_length=1, description="RE2 for the whole of a claim with text, nested as in the token."),
        ]
        | UnsetType
    ) = UNSET
    condition: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_LENGTH,
                description="A CEL expression over claims, scopes, tags and now that must be true.",
            ),
        ]
        | UnsetType
    ) = UNSET
    opa: Annotated[Opa, Meta(description="An Open Policy Agent that must agree.")] | UnsetType = UNSET
    max_lifetime: (
        Annotated[_Duration, Meta(description='How long a token may live: seconds, or like "90m". Default: a day.')]
        | UnsetType
    ) = UNSET
    max_age: (
        Annotated[_Duration, Meta(description='How long ago it may have been issued: seconds, or like "5m".')]
        | UnsetType
    ) = UNSET
    single_use: Annotated[bool, Meta(description="A token buys one access token, and no second one.")] | UnsetType = (
        UNSET
    )
    rate_limit: (
        Annotated[
            _Rate, Meta(description='How often one subject may: like "60/minute"; a second, minute, hour or day.')
        ]
        | UnsetType
    ) = UNSET
    not_before: (
        Annotated[_Moment, Meta(description="From when on the policy is in force: a date and time with offset.")]
        | UnsetType
    ) = UNSET
    not_after: (
        Annotated[_Moment, Meta(description="Until when the policy is in force: a date and time with offset.")]
        | UnsetType
    ) = UNSET
    allowed_scopes: Annotated[_Scopes, Meta(description="The Tailscale scopes that may be asked for, at most.")]
    allowed_tags: (
        Annotated[_Tags, Meta(description="The tags that may be asked for; given to scopes that need some.")]
        | UnsetType
    ) = UNSET
    tailnet: Annotated[_Text, Meta(description="Which of the server's tailnets the token is for.")] | UnsetType = UNSET
    algorithm: Annotated[_Algorithms, Meta(description="How the token may be signed. Default: RS256.")] | UnsetType = (
        UNSET
    )
    jwks_url: (
        Annotated[_Text, Meta(description="Where the issuer's keys are. Default: what the issuer says.")] | UnsetType
    ) = UNSET
    jwks_file: (
        Annotated[_Text, Meta(description="A copy of the issuer's keys, relative to the policies.")] | UnsetType
    ) = UNSET
    ca_file: Annotated[_Text, Meta(description="Certificates to trust when the keys are fetched.")] | UnsetType = UNSET
    allow_http: Annotated[bool, Meta(description="Keys may be fetched in the clear.")] | UnsetType = UNSET


def convert(table: Mapping[str, object]) -> PolicyDocument:
    """Return the TOML table as a document.

    Raises:
        msgspec.ValidationError: it has not the form of one.
    """
    return msgspec.convert(table, PolicyDocument, builtin_types=(datetime, date, time))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy's file."""
    _, definitions = msgspec.json.schema_components([PolicyDocument])
    document = definitions.pop("PolicyDocument")
    for key, leaf in (("claims", _Exact), ("claim_patterns", _Pattern)):
        (found,), _ = msgspec.json.schema_components([leaf])
        reference = {"$ref": f"#/$defs/{key}"}
        nested = {"type": "object", "minProperties": 1, "additionalProperties": reference}
        definitions[key] = {"anyOf": [*found.get("anyOf", [found]), nested]}
        document["properties"][key]["additionalProperties"] = reference
    issuers = [{"required": ["issuer"]}, {"required": ["issuer_pattern"]}]
    return {
        "$schema": DIALECT,
        **document,
        "title": "A trust policy of TailSTS",
        "oneOf": issuers,
        "$defs": definitions,
    }
