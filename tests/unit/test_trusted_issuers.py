"""The organisation's allow-list of issuers: whom it permits, and what keeps it from being one."""

import tomllib
from typing import Any

import pytest

from tailsts.policy.finding import Page
from tailsts.policy.patterns.pattern import compile_pattern
from tailsts.policy.reader import Reader
from tailsts.policy.trusted import TrustedIssuers, read_trusted_issuers

GITHUB = "https://token.actions.githubusercontent.com"
CIRCLECI = r"https://oidc\.circleci\.com/org/[0-9a-f-]{36}"
ORG = "https://oidc.circleci.com/org/01234567-89ab-cdef-0123-456789abcdef"
ACME = r"https://[a-z0-9-]+\.acme\.example"


def read(text: str) -> tuple[TrustedIssuers, list[tuple[str, str, str]]]:
    """Return what the table `text` says, and code, key and message of each fault in it."""
    table: dict[str, Any] = tomllib.loads(text)
    page = Page("tailsts.toml", text)
    trusted = read_trusted_issuers(Reader(table, page, "trusted_issuers"))
    return trusted, [(found.code, found.path, found.message) for found in page.findings]


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (GITHUB, True),
        (f"{GITHUB}/", False),
        (f"{GITHUB}/acme", False),
        (GITHUB.upper(), False),
        (GITHUB.removeprefix("https://"), False),
        (ORG, True),
        (ORG[:-1], False),
        (f"{ORG}0", False),
        (f"{ORG}\n", False),
        (f" {ORG}", False),
        (ORG.replace("oidc.", "oidcx"), False),
        ("https://ci.acme.example", True),
        # The pattern alone would take a label that ends in a hyphen, which no host has.
        ("https://-.acme.example", False),
        ("https://a.b.acme.example", False),
        ("https://evil.example/.acme.example", False),
        ("\udc80", False),
        ("", False),
    ],
)
def test_whom_it_permits(issuer: str, expected: bool) -> None:
    """Those that are named byte for byte, and those that a pattern matches as a whole; nobody else."""
    trusted = TrustedIssuers("enforce", frozenset({GITHUB}), (compile_pattern(CIRCLECI), compile_pattern(ACME)))
    assert trusted.permits(issuer) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'issuers = ["{GITHUB}"]', TrustedIssuers("enforce", frozenset({GITHUB}))),
        (f"issuer_patterns = ['{CIRCLECI}']", TrustedIssuers("enforce", frozenset(), (compile_pattern(CIRCLECI),))),
        (f'mode = "audit"\nissuers = ["{GITHUB}"]', TrustedIssuers("audit", frozenset({GITHUB}))),
        (
            f"mode = \"enforce\"\nissuers = ['{GITHUB}', '{ORG}']\nissuer_patterns = ['{CIRCLECI}', '{ACME}']",
            TrustedIssuers("enforce", frozenset({GITHUB, ORG}), (compile_pattern(CIRCLECI), compile_pattern(ACME))),
        ),
    ],
)
def test_a_list(text: str, expected: TrustedIssuers) -> None:
    """Issuers, patterns, or both; it is enforced unless it says that it only watches."""
    assert read(text) == (expected, [])


UPPER_CASE = (
    "'https://Host' cannot be used: scheme and host are written in lower case, as the tokens have them; upper case can "
    "never match"
)
MISSING = ("missing", "trusted_issuers.issuers", "is missing, and issuer_patterns too: nobody would be trusted")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [MISSING]),
        ('mode = "audit"', [MISSING]),
        ("issuers = []", [("empty", "trusted_issuers.issuers", "is an empty list")]),
        ("issuer_patterns = []", [("empty", "trusted_issuers.issuer_patterns", "is an empty list")]),
        (
            f"issuers = '{GITHUB}'",
            [("type", "trusted_issuers.issuers", "is a string, not a list of strings")],
        ),
        (
            "issuers = [1]",
            [
                (
                    "type",
                    "trusted_issuers.issuers",
                    "is a list with other things than strings in it, not a list of strings",
                )
            ],
        ),
        ("issuers = [' ']", [("empty", "trusted_issuers.issuers", "is an empty string")]),
        (
            "issuers = ['https://Host']",
            [
                ("issuer", "trusted_issuers.issuers", UPPER_CASE),
            ],
        ),
        (
            "issuer_patterns = ['https://(']",
            [
                (
                    "pattern",
                    "trusted_issuers.issuer_patterns",
                    "'https://(' cannot be used: it is not RE2: missing ): https://(",
                )
            ],
        ),
        (
            "issuer_patterns = ['.*', 'https://a\\.example']",
            [
                (
                    "issuer-pattern",
                    "trusted_issuers.issuer_patterns",
                    "'.*' cannot be used: it does not start with a plain https://",
                )
            ],
        ),
        (
            f"issuers = ['{GITHUB}']\nmode = 'off'",
            [("mode", "trusted_issuers.mode", "is 'off', not one of enforce, audit")],
        ),
        (f"issuers = ['{GITHUB}']\nmode = true", [("type", "trusted_issuers.mode", "is true or false, not a string")]),
    ],
)
def test_what_is_no_list(text: str, expected: list[tuple[str, str, str]]) -> None:
    """Empty, broken, or open to all: a fault for each thing, and never a list that permits everybody."""
    assert read(text)[1] == expected


@pytest.mark.parametrize("text", ["", "mode = 'off'", "issuers = []", "issuer_patterns = ['.*']", "issuers = 1"])
def test_a_broken_list_permits_nobody(text: str) -> None:
    """Should anybody use what was read of a broken list all the same, it permits nobody, and is enforced."""
    trusted, _ = read(text)
    assert (trusted.mode, trusted.permits(GITHUB)) == ("enforce", False)
