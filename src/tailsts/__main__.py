"""`python -m tailsts` is the `tailsts` command."""

from tailsts.cli import main

if __name__ == "__main__":
    main()
