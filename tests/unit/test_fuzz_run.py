"""How the fuzzer is called; what it finds is elsewhere."""

import pytest

from fuzz.run import main


@pytest.mark.parametrize("arguments", [["nonsense"], ["token", "nonsense", "1"], ["--keep", "nonsense"]])
def test_no_such_target(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A target that does not exist is exit 2; it is said, with those that there are, and nothing runs."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no such target: nonsense; there are token, jwks, wire, policy\n")


def test_no_such_option(capsys: pytest.CaptureFixture[str]) -> None:
    """An option that does not exist is exit 2, and how it is called is said."""
    assert main(["--nonsense"]) == 2
    said = capsys.readouterr()
    assert (said.out, "python -m fuzz.run [TARGET] [SECONDS]" in said.err) == ("", True)
