"""`tailsts new`: the policy that pins a token, or a workload that is described, and tests that go with it."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tailsts.authoring.said import check_said
from tailsts.authoring.services import SERVICES, recognise
from tailsts.authoring.sketch import Claims, Field, Service
from tailsts.authoring.texts import Choices, Written, refuse, write
from tailsts.cli.faults import USAGE, give_up
from tailsts.cli.given import claims_of
from tailsts.files import read_bounded
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.source import JwksFile
from tailsts.oidc.token import decode
from tailsts.policy.finding import Finding, Severity
from tailsts.policy.places.sheaf import TEST_ENDING, File, Sheaf
from tailsts.policy.store import Options, compile_sheaf

MAX_INPUT_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _option(name: str, parameter: str, about: str, **more: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's
    variable = f"TAILSTS_NEW_{name.removeprefix('--').replace('-', '_').upper()}"
    return click.option(name, parameter, envvar=variable, show_envvar=True, help=about, **more)


# What is the same for every service, whether there is a token or not.
_COMMON = (
    _option("--scope", "scopes", "A scope that may be asked for. Repeatable.", multiple=True),
    _option("--tag", "tags", "A tag that may be asked for. Repeatable.", multiple=True),
    _option(
        "--audience",
        "audience",
        "The audience that tokens are to be asked for. [default: the token's own, or a placeholder]",
    ),
    _option("--name", "name", "The policy's name. [default: made of what the token says]"),
    _option("--alg", "algorithm", "What tokens are signed with. [default: as the token, or what is usual]"),
    _option("--jwks-url", "jwks_url", "Where the issuer's keys are, if they cannot be looked up."),
    _option("--jwks-file", "jwks_file", "A copy of the issuer's keys, relative to the policies."),
    _option("--ca-file", "ca_file", "Certificates to trust when the keys are fetched, relative to the policies."),
    _option(
        "--schema",
        "schema",
        "Where editors find the schema (`tailsts schema`). Empty: nowhere.",
        default="./policy.schema.json",
        show_default=True,
    ),
    _option(
        "--out",
        "folder",
        "The folder to write NAME.toml and NAME.test.toml to. [default: standard output]",
        type=click.Path(file_okay=False, path_type=Path),
    ),
    _option("--force", "force", "Write over files that are there.", is_flag=True),
    _option("--lenient", "lenient", "Write what `tailsts check --strict` would refuse, too.", is_flag=True),
)


def _with_common(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_COMMON):
        command = option(command)
    return command


@click.group(name="new", short_help="Write a policy, with its tests.", invoke_without_command=True)
@_option("--from-token", "token_file", "The file that holds a token; - for standard input.", metavar="FILE|-")
@_option("--claims", "claims_file", "Claims as JSON instead of a token; - for standard input.", metavar="FILE|-")
@_with_common
@click.pass_context
def command(context: click.Context, /, *, token_file: str | None, claims_file: str | None, **others: Any) -> None:  # noqa: ANN401 - see _COMMON
    """Write the policy that pins a token, with tests that allow it and deny its neighbours.

    Either from a token (--from-token), whatever service it is of, or for a workload that is described: `tailsts new
    github --help`. The token itself is neither shown nor kept. What is written passes `tailsts check --strict`.
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    if (token_file is None) == (claims_file is None):
        give_up(["give either --from-token or --claims, or a service: see tailsts new --help"], USAGE)
    algorithm = None
    if claims_file is not None:
        claims: Claims = claims_of(_read(claims_file, "--claims"))
    else:
        claims, algorithm = _token(_read(token_file or "-", "--from-token"))
    if not isinstance(claims.get("sub"), str) or not claims.get("sub"):
        give_up(["it has no sub, so no policy can allow it"], USAGE)
    _finish(recognise(claims), claims, {**others, "algorithm": others["algorithm"] or algorithm})


def _refuse_options_before(context: click.Context) -> None:
    source = click.core.ParameterSource.COMMANDLINE
    given = [option.opts[0] for option in command.params if context.get_parameter_source(option.name or "") == source]
    if given:
        give_up([f"{given[0]} stands before the name of the service: write it after it"], USAGE)


def _service_command(service: Service) -> click.Command:
    def run(**values: Any) -> None:  # noqa: ANN401 - the options of the service, and _COMMON
        given = {field.name: values.pop(_parameter(field)) or "" for field in service.fields}
        said, notes, faults = check_said(service, given)
        if faults:
            give_up([*faults, *_refuse_choices(_choices(values))], USAGE)
        for note in notes:
            _say(f"note: {note}")
        assert service.claims is not None  # noqa: S101 - of each in SERVICES
        claims = {**service.claims(said), "aud": values["audience"]}
        _finish(service, claims, {**values, "algorithm": values["algorithm"] or service.algorithm})

    described = _with_common(run)
    for field in reversed(service.fields):
        described = _field_option(service, field)(described)
    about = f"Write the policy for a workload of {service.title}, with its tests."
    return click.command(name=service.name, help=about, short_help=service.title)(described)


def _parameter(field: Field) -> str:
    return f"of_{field.name.replace('-', '_')}"


def _field_option(service: Service, field: Field) -> Callable[[Any], Any]:
    variable = f"TAILSTS_NEW_{service.name}_{field.name}".replace("-", "_").upper()
    return click.option(
        f"--{field.name}",
        _parameter(field),
        envvar=variable,
        show_envvar=True,
        help=field.about if field.usual is not None else f"{field.about}  [required]",
        type=click.Choice(field.among) if field.among else str,
        # What is required is looked at with everything else, so that all that is missing is said at once.
        default=field.usual,
        show_default=bool(field.usual),
    )


for _service in SERVICES:
    command.add_command(_service_command(_service))


def _finish(service: Service, claims: Claims, given: Mapping[str, Any]) -> None:
    choices = _choices(given)
    if faults := _refuse_choices(choices):
        give_up(faults, USAGE)
    written = write(service, claims, choices)
    _judge(written, given["folder"] or Path(), lenient=given["lenient"])
    for warning in written.warnings:
        _say(f"note: {warning}")
    if given["folder"] is None:
        click.echo(f"# {written.name}.toml\n{written.policy}\n# {written.name}{TEST_ENDING}\n{written.tests}", nl=False)
    else:
        _save(written, given["folder"], force=given["force"])


def _choices(given: Mapping[str, Any]) -> Choices:
    return Choices(
        scopes=_split(given["scopes"]),
        tags=_split(given["tags"]),
        **{key: given[key] or None for key in ("audience", "name", "algorithm", "jwks_url", "jwks_file", "ca_file")},
        schema=given["schema"],
    )


def _split(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for text in texts for part in text.replace(",", " ").split()))


def _refuse_choices(choices: Choices) -> list[str]:
    faults = [*refuse(choices), *_refuse_name(choices.name)]
    if not choices.schema.isprintable():
        faults.append("--schema holds characters that cannot be shown")
    return faults


def _refuse_name(name: str | None) -> list[str]:
    if name is None:
        return []
    if name.endswith(".toml"):
        return [f"--name {name!r} is that of a file: leave .toml out"]
    if name.endswith(".test"):
        return [f"--name {name!r} cannot be a policy's: files that end in .test.toml are tests"]
    if not _NAME.fullmatch(name):
        return [f"--name {name!r} cannot be a policy's: letters, digits, hyphens, dots and underscores"]
    return []


def _judge(written: Written, folder: Path, *, lenient: bool) -> None:
    """Ask what the server would say of the policy. Ends the program if that is no."""
    findings = _findings(written, folder)
    fatal = [found for found in findings if found.severity is Severity.FAULT and found.code != "named-file"]
    if not lenient:
        fatal += [found for found in findings if found.severity is Severity.SECURITY]
    if fatal:
        hint = [] if any(found.severity is Severity.FAULT for found in fatal) else ["--lenient writes it all the same"]
        give_up([*map(_without_place, fatal), *hint], USAGE)
    for found in findings:
        _say(_without_place(found))


def _without_place(found: Finding) -> str:
    # There is no such file, or not yet: nobody could look up the line.
    return str(msgspec.structs.replace(found, file="", line=None)).removeprefix(": ")


def _findings(written: Written, folder: Path) -> Sequence[Finding]:
    def named(name: str) -> bytes:
        return read_bounded((folder / name).absolute(), MAX_INPUT_BYTES)

    file = File(written.name, f"{written.name}.toml", written.policy.encode())
    sheaf = Sheaf("", [file], (), named, key_file=lambda name: JwksFile(folder / name))
    return compile_sheaf(sheaf, Options(tailnets=None)).findings


def _save(written: Written, folder: Path, *, force: bool) -> None:
    # The test first: where the folder is watched, a policy that is there counts.
    files = ((f"{written.name}{TEST_ENDING}", written.tests), (f"{written.name}.toml", written.policy))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [name for name, _ in files if (folder / name).exists()]
        if there and not force:
            give_up([f"{folder / there[0]} is there: --force writes over it, --name takes another name"], USAGE)
        for name, text in files:
            with (folder / name).open("wb" if force else "xb") as file:
                file.write(text.encode())
            _say(f"wrote {folder / name}")
    except OSError as error:
        give_up([f"--out {folder}: {error.strerror}"], USAGE)


def _token(raw: bytes) -> tuple[Claims, str]:
    token = decode(raw.decode("ascii", "replace").strip())
    if isinstance(token, Rejected):
        # The token itself is never part of what is said.
        give_up([f"the server would not read this token: {token.reason}: {token.detail}"], USAGE)
    return token.unverified_claims, token.algorithm


def _read(file: str, option: str) -> bytes:
    try:
        raw = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1) if file == "-" else _read_file(Path(file))
    except OSError as error:
        give_up([f"{option} {file} cannot be read: {error.strerror}"], USAGE)
    if len(raw) > MAX_INPUT_BYTES:
        give_up([f"{option} {file} is too large"], USAGE)
    return raw


def _read_file(path: Path) -> bytes:
    # Not only regular files: shells make a pipe of <(command), which is a good way to hand a token over.
    with path.open("rb") as opened:
        return opened.read(MAX_INPUT_BYTES + 1)


def _say(line: str) -> None:
    click.echo(f"tailsts: {line if line.isprintable() else ascii(line)[1:-1]}", err=True)
