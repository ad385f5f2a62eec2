"""The types of a policy's file against the reader of such files, and the schema that is made of them."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest

from fakes.pages import read
from tailsts.oidc.token import ALGORITHMS
from tailsts.policy import document
from tailsts.policy import parse as parsing
from tailsts.policy.document import DIALECT, PolicyDocument, convert, schema
from tailsts.policy.finding import Page
from tailsts.policy.reader import Reader

GOOD: dict[str, object] = {"issuer": "https://i.example.com", "allowed_scopes": ["dns"]}


def deep(levels: int) -> dict[str, object]:
    """Return a table with so many names on the way to its value."""
    table: dict[str, object] = {"x": "v"}
    for _ in range(levels - 1):
        table = {"x": table}
    return table


def test_keys() -> None:
    """The document has the keys that the reader asks for, and no others."""
    reader = Reader({"opa": {"url": "https://x"}}, Page("p.toml", ""))
    parsing._read("p", reader)
    assert reader.known == set(PolicyDocument.__struct_fields__)


def test_algorithms() -> None:
    """The document names the algorithms that are accepted."""
    assert set(get_args(document._Algorithm)) == ALGORITHMS


@pytest.mark.parametrize(
    "good",
    [
        {"claims": {"a": 1, "b": {"c": [True, "x", 1.5]}}},
        {"claims": deep(8), "claim_patterns": deep(8)},
        {"audience": ["a", "b"], "algorithm": ["RS256", "EdDSA"]},
        {"max_lifetime": "36h", "max_age": 60},
        {"single_use": True, "rate_limit": "5/hour"},
        {"not_before": datetime(2026, 1, 1, tzinfo=UTC)},
        {"opa": {"url": "https://opa.example.com/v1/data/x"}},
        {"allowed_tags": ["tag:ci"], "any_subject": True, "issuer_pattern": "https://x"},
    ],
)
def test_right(good: dict[str, object]) -> None:
    """What a policy may hold is a document."""
    convert(GOOD | good)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subjet": "s"},
        {"opa": {"url": "https://x", "uri": "https://x"}},
        {"opa": "https://x"},
        {"subject": ""},
        {"subject": " s"},
        {"subject": 1},
        {"claims": {}},
        {"claims": {"a": []}},
        {"claims": {"a": [["x"]]}},
        {"claims": {"a": datetime(2026, 1, 1, tzinfo=UTC)}},
        {"claims": deep(9)},
        {"claim_patterns": {"a": 1}},
        {"claim_patterns": {"a": "x" * 257}},
        {"allowed_scopes": []},
        {"allowed_scopes": "dns"},
        {"allowed_scopes": ["a,b"]},
        {"allowed_tags": ["ci"]},
        {"algorithm": "none"},
        {"max_lifetime": "1w"},
        {"rate_limit": "5/week"},
        {"rate_limit": 5},
        {"max_lifetime": 0},
        {"max_lifetime": 1.0},
        {"not_before": "2026-01-01T00:00:00Z"},
        {"not_before": datetime(2026, 1, 1)},  # noqa: DTZ001 - what a policy must not have
        {"any_subject": "true"},
        {"condition": ""},
        {"issuer": "example.com"},
    ],
)
def test_wrong(wrong: dict[str, object]) -> None:
    """What a policy may not hold is no document."""
    with pytest.raises(msgspec.ValidationError):
        convert(GOOD | wrong)


def test_the_schema_in_the_repository() -> None:
    """docs/policy.schema.json is the schema."""
    assert json.loads(read("docs/policy.schema.json")) == schema()


def objects(node: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Return every object in a schema that describes an object."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = [each for child in inner for each in objects(child)]
    return [node, *found] if isinstance(node, dict) and node.get("type") == "object" else found


def test_the_schema_is_closed() -> None:
    """No object may have a key that is not named, but for claims, whose names are the issuers'."""
    made = schema()
    references = [{"$ref": "#/$defs/claims"}, {"$ref": "#/$defs/claim_patterns"}]
    for found in objects(made):
        assert found["additionalProperties"] is False or found["additionalProperties"] in references
    assert made["additionalProperties"] is False
    assert made["$schema"] == DIALECT
    for name in ("claims", "claim_patterns"):
        assert made["$defs"][name]["anyOf"][-1]["additionalProperties"] == {"$ref": f"#/$defs/{name}"}


def test_every_key_is_described() -> None:
    """Editors can say of each key what it is, and that times are dates and times."""
    made = schema()
    keys = [*made["properties"].values(), *made["$defs"]["Opa"]["properties"].values()]
    assert all(key["description"].endswith(".") for key in keys)
    assert made["properties"]["not_after"] | {"description": ""} == {
        "type": "string",
        "format": "date-time",
        "description": "",
    }


def test_an_issuer_is_required() -> None:
    """One of the two forms of an issuer must be there, and scopes."""
    made = schema()
    assert made["required"] == ["allowed_scopes"]
    assert made["oneOf"] == [{"required": ["issuer"]}, {"required": ["issuer_pattern"]}]
