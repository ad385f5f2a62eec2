"""`--ca-file`: certificates to trust in addition, wherever something is asked over the network."""

from pathlib import Path

import click
from click.core import ParameterSource

from tailsts.cli.grouping import Decorator
from tailsts.errors import FileError
from tailsts.files import read_bounded
from tailsts.outbound import certificates

MAX_CA_BYTES = 1024 * 1024


def ca_file_option(help_text: str) -> Decorator:
    """Return the option, as `ca_file`."""
    return click.option(
        "--ca-file",
        envvar="SSL_CERT_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help=f"{help_text} The variable replaces the system's certificates, as everywhere.",
    )


def extra_roots(file: Path | None, lines: list[str]) -> tuple[bytes, ...]:
    """Return what `ca_file` holds, to be trusted in addition; append a line if it is no certificate."""
    if file is None:
        return ()
    try:
        pem = read_bounded(file, MAX_CA_BYTES)
        if click.get_current_context().get_parameter_source("ca_file") is ParameterSource.ENVIRONMENT:
            # The TLS library follows SSL_CERT_FILE by itself.
            return ()
        certificates(pem)
    except (FileError, ValueError) as error:
        lines.append(f"--ca-file (SSL_CERT_FILE) {file} {error}")
        return ()
    return (pem,)
