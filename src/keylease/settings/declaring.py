"""What a setting is declared with: how its text is read, and what it is by default.

Parsers raise ``ValueError`` with what they expect instead, as the end of "is not ...".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from keylease.errors import SettingsInvalid

_LAST_PORT: Final = 65_535


class Context(NamedTuple):
    """What a text is read in."""

    environment: Mapping[str, str]
    values: Mapping[str, object]
    """The settings decided so far, in the order of declaration."""
    base: Path
    """What a relative path in the value is relative to."""


class Declaration(NamedTuple):
    """What is said once about a setting."""

    doc: str
    parse: Callable[[str, Context], object]
    default: Callable[[Context], object]
    default_doc: str
    in_file: bool = True
    """Whether the settings file may hold it."""
    also: str = ""
    """A variable without the prefix that is honoured when the prefixed one is not set."""
    also_value: str = ""
    """What a non-empty value of that variable means; empty means what it says."""
    secret: bool = False
    """Never shown, and never a flag: every user of the machine can read those."""


def as_path(text: str, context: Context) -> Path:
    """An absolute path; ``~`` is the home directory."""
    if not text or "\0" in text:
        raise ValueError("a path")
    if text == "~" or text.startswith("~/"):
        return home_directory(context) / text[2:]
    return Path(os.path.abspath(context.base / text))  # noqa: PTH100 - keeps symlinks, unlike resolve()


def as_file(text: str, context: Context) -> str:
    """A file that need not be named; the absolute path, or nothing."""
    return str(as_path(text, context)) if text else ""


def as_files_by_organization(text: str, context: Context) -> str:
    """``ORGANIZATION=FILE`` or ``FILE``, several with commas; the same with absolute paths."""
    made: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        organization, _, file = part.rpartition("=")
        if not file or not (organization or "=" not in part) or organization in made:
            raise ValueError("ORGANIZATION=FILE, each organization once")
        made[organization] = str(as_path(file, context))
    return ",".join(f"{name}={file}" if name else file for name, file in made.items())


def as_text(text: str, _: Context) -> str:
    """A text without anything that steers a terminal."""
    if not text.isprintable():
        raise ValueError("printable text")
    return text


def as_address(text: str, _: Context) -> str:
    """``HOST:PORT``."""
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal() and int(port) <= _LAST_PORT):
        raise ValueError("HOST:PORT")
    return text


def as_choice(kind: type[StrEnum]) -> Callable[[str, Context], StrEnum]:
    """The parser of one of some words."""

    def parse(text: str, _: Context) -> StrEnum:
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError("one of " + ", ".join(kind)) from None

    return parse


def home_directory(context: Context) -> Path:
    """``HOME``. Raises ``SettingsInvalid``."""
    home = context.environment.get("HOME", "")
    if not home.startswith("/"):
        raise SettingsInvalid(
            "HOME is not set to a directory, so there is no default place for files.",
            advice="Set HOME, or give --data-dir and --config-dir.",
        )
    return Path(home)


def default_data_dir(context: Context) -> Path:
    """``~/.keylease``."""
    return home_directory(context) / ".keylease"


def default_config_dir(context: Context) -> Path:
    """The XDG directory."""
    base = context.environment.get("XDG_CONFIG_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    return (
        Path(base) if base.startswith("/") else home_directory(context) / ".config"
    ) / "keylease"


def beside(name: str) -> Callable[[Context], Path]:
    """A file in the directory of configuration."""

    def default(context: Context) -> Path:
        return Path(str(context.values["config_dir"])) / name

    return default


def default_strongroom_python(_: Context) -> Path:
    """The strongroom's own environment beside this one, where there is one."""
    own = Path(f"{sys.prefix}-strongroom") / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def constant(value: object) -> Callable[[Context], object]:
    """A default that depends on nothing."""
    return lambda _: value
