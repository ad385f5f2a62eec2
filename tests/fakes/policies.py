"""Policy texts for tests."""

import json


def policy(issuer: str, **keys: object) -> str:
    """Return the text of a policy for the fake issuer's usual token, changed by `keys`; None leaves one out."""
    usual = {
        "issuer": issuer,
        "algorithm": "RS256",
        "subject": "repo:acme/infra:ref:refs/heads/main",
        "audience": "https://sts.example.com",
        "jwks_url": f"{issuer}/jwks",
        "allowed_scopes": ["devices:core:read", "dns:read", "policy_file"],
    }
    return "".join(f"{name} = {_toml(value)}\n" for name, value in {**usual, **keys}.items() if value is not None)


def _toml(value: object) -> str:
    # Of these types, JSON's spelling is TOML's.
    assert isinstance(value, str | int | list | bool)
    return json.dumps(value)
