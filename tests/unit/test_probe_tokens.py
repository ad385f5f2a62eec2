"""The tokens that probes ask with."""

import os
from pathlib import Path

import pytest

from fakes.issuer import FakeIssuer
from tailsts.credentials import Secret
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.probing.plan import TokenSource
from tailsts.probing.tokens import MAX_TOKEN_BYTES, TokenError, Tokens, tampered


def fault(source: TokenSource, environment: dict[str, str] | None = None) -> str:
    """Return why there is no token."""
    with pytest.raises(TokenError) as caught:
        Tokens(environment or {}).of(source)
    return str(caught.value)


def test_a_round_reads_a_token_once(tmp_path: Path) -> None:
    """In one round the same source is the same token, though its file changed; the next round has the new one."""
    file = tmp_path / "t"
    source = TokenSource(file)
    file.write_text(" a.b.c\n")
    tokens = Tokens({})
    assert tokens.of(source).reveal() == "a.b.c"
    file.write_text("d.e.f")
    assert (tokens.of(source).reveal(), Tokens({}).of(source).reveal()) == ("a.b.c", "d.e.f")


def test_no_token(tmp_path: Path) -> None:
    """A token that is not there, or is none, is said without a word of what is there instead."""
    file = tmp_path / "t"
    source, variable = TokenSource(file), TokenSource(variable="T")
    assert fault(source) == f"token_file {file} cannot be read: No such file or directory"
    file.write_text("\n")
    assert fault(source) == f"token_file {file} is empty"
    for text in ("hunter 2", "hünter", "x\x00"):
        file.write_text(text)
        assert fault(source) == f"token_file {file} holds no token: blanks, or other characters that no token has"
    file.write_text("x" * (MAX_TOKEN_BYTES + 1))
    assert fault(source) == f"token_file {file} is larger than {MAX_TOKEN_BYTES} bytes"
    file.unlink()
    os.mkfifo(file)
    assert fault(source) == f"token_file {file} is not a regular file"
    assert fault(variable) == fault(variable, {"T": " "}) == "token_env T is not set, or empty"


def test_tampered() -> None:
    """A tampered token is well-formed, says the same, and has another signature."""
    with FakeIssuer() as issuer:
        for _ in range(3):
            token = issuer.token()
            good, bad = decode(token), decode(tampered(Secret(token)).reveal())
            assert isinstance(good, UnverifiedToken)
            assert isinstance(bad, UnverifiedToken)
            assert bad.signing_input == good.signing_input
            assert bad.signature != good.signature
    assert tampered(Secret("a.b.Ac")).reveal() == "a.b.Bc"
    assert tampered(Secret("x")).reveal() == "A"
