"""The only reader of configuration: flag > KEYLEASE_* > settings file > default.

Only the command line and process entry points import this; everything else is handed what it
needs. A setting is declared once, as a field of ``Settings`` with its ``Declaration``; the flag,
the environment variable, the key in the settings file and the reference page follow from that.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NamedTuple, get_args, get_type_hints

import msgspec

from keylease.errors import SettingsInvalid
from keylease.settings.declaring import (
    Context,
    Declaration,
    as_address,
    as_choice,
    as_file,
    as_files_by_organization,
    as_path,
    as_text,
    beside,
    constant,
    default_config_dir,
    default_data_dir,
    default_strongroom_python,
)

PREFIX: Final = "KEYLEASE_"
SETTINGS_FILE: Final = "settings.toml"
_MAXIMUM_FILE_BYTES: Final = 64 * 1024


class LogLevel(StrEnum):
    """The least important line that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    TEXT = "text"
    JSON = "json"


class Color(StrEnum):
    """When the command line uses colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class OriginKind(StrEnum):
    """Who decided a setting, in falling order of precedence."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Origin(msgspec.Struct, frozen=True):
    """Where a value came from."""

    kind: OriginKind
    where: str = ""
    """The flag, the variable or the file."""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.where}".strip()


# --- the settings --------------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of the command line starts from."""

    config_dir: Annotated[
        Path,
        Declaration(
            "Directory of gateway.toml, keylease.toml, settings.toml and the key that seals the "
            "sealed store. Keep it out of the data directory's back-ups.",
            as_path,
            default_config_dir,
            "`$XDG_CONFIG_HOME/keylease`, or `~/.config/keylease`",
            in_file=False,
        ),
    ]
    data_dir: Annotated[
        Path,
        Declaration(
            "Directory of everything the product writes: call records, audit entries, the ledger "
            "of limits, the sealed store.",
            as_path,
            default_data_dir,
            "`~/.keylease`",
        ),
    ]
    gateway_file: Annotated[
        Path,
        Declaration(
            "What this gateway may ever do.",
            as_path,
            beside("gateway.toml"),
            "`gateway.toml` in the configuration directory",
        ),
    ]
    policy_file: Annotated[
        Path,
        Declaration(
            "The local policy: credentials, routes, grants, trust rules.",
            as_path,
            beside("keylease.toml"),
            "`keylease.toml` in the configuration directory",
        ),
    ]
    strongroom_python: Annotated[
        Path,
        Declaration(
            "The Python interpreter that runs strongroom processes. It should belong to an "
            "environment of its own, built from requirements/strongroom.lock.",
            as_path,
            default_strongroom_python,
            "the environment beside this one whose name ends in `-strongroom`; without one, this "
            "interpreter, and `keylease doctor` says that the environment is shared",
        ),
    ]
    server_listen: Annotated[
        str,
        Declaration(
            "Where the platform's server listens: HOST:PORT.",
            as_address,
            constant("127.0.0.1:4140"),
            "`127.0.0.1:4140`",
        ),
    ]
    server_url: Annotated[
        str,
        Declaration(
            "The platform that commands talk to.",
            as_text,
            constant(""),
            "where one is signed in, else the server on this machine",
        ),
    ]
    api_key: Annotated[
        str,
        Declaration(
            "An API key that commands show to the platform, instead of the sign-in of "
            "`keylease login`. `--api-key-file` takes it from a file.",
            as_text,
            constant(""),
            "none",
            in_file=False,
            secret=True,
        ),
    ]
    gateway_url: Annotated[
        str,
        Declaration(
            "The gateway at which `keylease.tracing` exchanges its lease; `keylease run` sets it "
            "for the program that it runs.",
            as_text,
            constant(""),
            "none",
        ),
    ]
    lease: Annotated[
        str,
        Declaration(
            "The lease with which `keylease.tracing` sends spans where there is no key, or what "
            "`keylease run` gives in its place. It is sent to that gateway only.",
            as_text,
            constant(""),
            "none",
            in_file=False,
            secret=True,
        ),
    ]
    public_url: Annotated[
        str,
        Declaration(
            "How people and gateways reach the platform, when it is not by localhost: scheme, "
            "host and port.",
            as_text,
            constant(""),
            "`http://localhost:PORT`",
        ),
    ]
    database_url: Annotated[
        str,
        Declaration(
            "The platform's database: `sqlite:///path` or `postgresql://user@host/name`, with "
            "`?passfile=/path` where a password is needed, and no password in it.",
            as_text,
            constant(""),
            "a SQLite file in the data directory",
        ),
    ]
    private_hosts: Annotated[
        str,
        Declaration(
            "Hosts with private addresses that the platform may reach, separated by commas: "
            "outside issuers, receivers of webhooks. Plain http is allowed to these only.",
            as_text,
            constant(""),
            "none",
        ),
    ]
    trace_store_url: Annotated[
        str,
        Declaration(
            "A ClickHouse server that keeps the spans: `clickhouse://user@host/database`, and no "
            "password in it. docs/guides/trace-store.md says what else may stand there.",
            as_text,
            constant(""),
            "the engine inside the server",
        ),
    ]
    trace_store_password_file: Annotated[
        str,
        Declaration(
            "A file with the password of that user and nothing else, mode 0600. It is read when "
            "the server starts, before it gives up its rights.",
            as_file,
            constant(""),
            "none",
        ),
    ]
    trace_store_cluster: Annotated[
        str,
        Declaration(
            "The cluster on whose nodes the tables are made, by its name in the configuration of "
            "the ClickHouse servers.",
            as_text,
            constant(""),
            "none: one ClickHouse server",
        ),
    ]
    trace_fingerprint_key: Annotated[
        str,
        Declaration(
            "Fingerprint keys with which secrets are masked in spans, so that they meet what "
            "scanners and gateways find: `ORGANIZATION=FILE`, several separated by commas; FILE "
            "alone is for the organization that the installation began with. Read when the server "
            "starts.",
            as_files_by_organization,
            constant(""),
            "for `keylease up` the key that its gateway has, else one of the server's own",
        ),
    ]
    promises_file: Annotated[
        str,
        Declaration(
            "The last results of the promises' tests, which the trust report shows with their "
            "commit and date; `make test` writes build/promises.json. Read whenever the report is "
            "asked for; it has to be there when the server starts.",
            as_file,
            constant(""),
            "none: every promise is shown as not verified",
        ),
    ]
    log_level: Annotated[
        LogLevel,
        Declaration(
            "The least important line that is logged: debug, info, warning or error.",
            as_choice(LogLevel),
            constant(LogLevel.INFO),
            "`info`",
        ),
    ]
    log_format: Annotated[
        LogFormat,
        Declaration(
            "How log lines are written: text or json.",
            as_choice(LogFormat),
            constant(LogFormat.TEXT),
            "`text`",
        ),
    ]
    color: Annotated[
        Color,
        Declaration(
            "When the command line uses colour: auto (on a terminal), always or never. "
            "A non-empty `NO_COLOR` means never.",
            as_choice(Color),
            constant(Color.AUTO),
            "`auto`",
            also="NO_COLOR",
            also_value="never",
        ),
    ]

    @property
    def platform_dir(self) -> Path:
        """The platform's part of the data directory."""
        return self.data_dir / "platform"

    def __repr__(self) -> str:
        return f"Settings(config_dir={str(self.config_dir)!r}, ...)"  # one of them is a secret

    @property
    def strongroom_shares_environment(self) -> bool:
        """Strongroom processes would run with everything this environment has installed."""
        return Path(sys.prefix) == self.strongroom_python.parent.parent


class LoadedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and where each of them came from."""

    settings: Settings
    origins: dict[str, Origin]


def declarations() -> dict[str, Declaration]:
    """Every setting, in the order in which they are decided."""
    hints = get_type_hints(Settings, include_extras=True)
    return {name: get_args(hint)[1] for name, hint in hints.items()}


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def flag_of(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def load(
    flags: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Read the configuration; raises ``SettingsInvalid``. A flag that is ``None`` was not given.

    ``environment`` is this process's own when not given. The settings file is read once the
    configuration directory is known; it need not exist.
    """
    if environment is None:
        environment = dict(os.environ)  # noqa: TID251 - the one place where it is read
    declared = declarations()
    _refuse_unknown(flags, declared, "There is no setting {name!r}.")
    _refuse_unknown_variables(environment, declared)

    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    in_file: Mapping[str, object] = {}
    file = Path()
    for name, declaration in declared.items():
        found = _find(name, declaration, flags, environment, in_file, file)
        base = file.parent if found and found.origin.kind is OriginKind.FILE else Path.cwd()
        context = Context(environment, values, base)
        if found is None:
            values[name] = declaration.default(context)
            origins[name] = Origin(OriginKind.DEFAULT)
        else:
            values[name] = _parsed(name, declaration, found, context)
            origins[name] = found.origin
        if name == "config_dir":
            file = Path(str(values[name])) / SETTINGS_FILE
            in_file = _read_file(file, declared)

    return LoadedSettings(settings=msgspec.convert(values, Settings), origins=origins)


def process_environment() -> dict[str, str]:
    """A copy of this process's variables, for a child process that is meant to have them."""
    return dict(os.environ)  # noqa: TID251 - handed on, not read as configuration


class _Found(NamedTuple):
    text: str
    origin: Origin


def _find(
    name: str,
    declaration: Declaration,
    flags: Mapping[str, object],
    variables: Mapping[str, str],
    in_file: Mapping[str, object],
    file: Path,
) -> _Found | None:
    if flags.get(name) is not None:
        return _Found(str(flags[name]), Origin(OriginKind.FLAG, flag_of(name)))
    variable = variable_of(name)
    if variable in variables:
        return _Found(variables[variable], Origin(OriginKind.ENVIRONMENT, variable))
    if declaration.also and variables.get(declaration.also):
        text = declaration.also_value or variables[declaration.also]
        return _Found(text, Origin(OriginKind.ENVIRONMENT, declaration.also))
    if name in in_file:
        return _Found(str(in_file[name]), Origin(OriginKind.FILE, str(file)))
    return None


def _parsed(name: str, declaration: Declaration, found: _Found, context: Context) -> object:
    try:
        return declaration.parse(found.text, context)
    except ValueError as error:
        # The value is not repeated: somebody may have put a key where a path belongs.
        raise SettingsInvalid(
            f"{found.origin.where}: {name} must be {error}.",
            advice="docs/reference/settings.md lists every setting.",
        ) from None


def _read_file(file: Path, declared: Mapping[str, Declaration]) -> Mapping[str, object]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAXIMUM_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsInvalid(
            f"{file} cannot be read: {error.strerror}.", advice="Correct its permissions."
        ) from error
    if len(content) > _MAXIMUM_FILE_BYTES:
        raise SettingsInvalid(f"{file} is larger than {_MAXIMUM_FILE_BYTES} bytes.")
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        # ValueError covers bad UTF-8, bad TOML and integers of absurd length.
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "not valid TOML"
        raise SettingsInvalid(f"{file} cannot be read: {reason}.") from None
    allowed = {name: item for name, item in declared.items() if item.in_file}
    _refuse_unknown(document, allowed, f"{file}: there is no setting {{name!r}}.")
    for name, value in document.items():
        if not isinstance(value, str):
            raise SettingsInvalid(f'{file}: {name} must be text: {name} = "...".')
    return document


def _refuse_unknown(given: Mapping[str, object], known: Mapping[str, object], message: str) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingsInvalid(
                message.format(name=name[:64]),
                advice=f"Did you mean {close[0]}?" if close else _known(known),
            )


def _refuse_unknown_variables(
    variables: Mapping[str, str], declared: Mapping[str, Declaration]
) -> None:
    known = {variable_of(name): name for name in declared}
    unknown = sorted(name for name in variables if name.startswith(PREFIX) and name not in known)
    if unknown:
        close = difflib.get_close_matches(unknown[0].removeprefix(PREFIX), map(str.upper, declared))
        hint = f"Did you mean {PREFIX}{close[0]}?" if close else _known(known)
        raise SettingsInvalid(
            f"{unknown[0]} is set in the environment and is no setting.",
            advice=f"{hint} Otherwise unset it.",
        )


def _known(known: Mapping[str, object]) -> str:
    return f"Known: {', '.join(known)}."


def reference_page() -> str:
    """docs/reference/settings.md."""
    rows = [
        f"| `{name}` | {'none' if item.secret else f'`{flag_of(name)}`'} | `{variable_of(name)}` | "
        f"{item.default_doc} | "
        f"{item.doc}{'' if item.in_file else ' Not in the settings file.'} |"
        for name, item in declarations().items()
    ]
    lines = [
        "# Settings",
        "",
        "A setting is taken from the first place that has it: the command's flag, the environment",
        f"variable, `{SETTINGS_FILE}` in the configuration directory, the default. `keylease",
        "config show --origin` prints each with the place it came from. A relative path in the",
        "settings file is relative to that file. A variable that begins with `KEYLEASE_` and is",
        "no setting stops the start, so that a slip of the pen is not silently without effect.",
        "",
        "| setting | flag | variable | default | meaning |",
        "|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
