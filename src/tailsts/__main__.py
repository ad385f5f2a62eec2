"""`python -m tailsts` is the `tailsts` command."""

from tailsts.cli import run

if __name__ == "__main__":
    run()
