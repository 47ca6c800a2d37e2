"""Reads configuration files so that every mistake in one is found at once, with its place.

A ``Document`` is the parsed file and the list of what is wrong with it. A ``Table`` hands out its
values by name and kind; a value that is missing or wrong becomes a diagnostic and a harmless
stand-in, so that reading goes on. Nothing a diagnostic quotes can be a secret: it is masked first.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from keylease import detectors
from keylease.errors import Diagnostic, FileInvalid, Severity
from keylease.strongroom.config_files.positions import Path as TomlPath
from keylease.strongroom.config_files.positions import Position, positions

FILE_VERSION: Final = 1
MAXIMUM_BYTES: Final = 1024 * 1024
_LOCATED: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_QUOTED_LENGTH: Final = 60
_WHOLE_FILE: Final = Position(0, 0)

_Value = TypeVar("_Value")
_Default = TypeVar("_Default")
_Choice = TypeVar("_Choice", bound=StrEnum)


def quoted(value: object) -> str:
    """A value of a file, masked, shortened and printable, for a message."""
    masked, _ = detectors.mask(str(value))
    shown = "".join(c if c.isprintable() else "?" for c in masked[:_QUOTED_LENGTH])
    return f'"{shown}{"..." if len(masked) > _QUOTED_LENGTH else ""}"'


def did_you_mean(given: str, known: Iterable[str], *, say: str = "Known: ") -> str:
    """A suggestion: the name that is close, or the names there are."""
    names = list(known)
    close = difflib.get_close_matches(given.lower(), names, n=1)
    if close:
        return f"Did you mean {quoted(close[0])}?"
    return say + ", ".join(names) + "." if names else ""


class Document:
    """One configuration file while it is read."""

    def __init__(self, path: Path, error: type[FileInvalid]) -> None:
        """Read and parse ``path``; raises ``error`` when it is not TOML at all."""
        self.path = path
        self._error = error
        self._diagnostics: list[Diagnostic] = []
        self._positions: dict[TomlPath, Position] = {}
        self._secret_paths: set[TomlPath] = set()
        self.values = self._parse(self._read())

    # --- reading ---------------------------------------------------------------------------

    def _read(self) -> str:
        try:
            with self.path.open("rb") as stream:
                content = stream.read(MAXIMUM_BYTES + 1)
        except FileNotFoundError:
            self._fail("There is no such file.", "`keylease up` writes a first one.")
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or "not a usable path").lower()
            self._fail(
                f"The file cannot be read: {reason}.",
                "It has to be a file that the user Keylease runs as can read.",
            )
        if len(content) > MAXIMUM_BYTES:
            self._fail(
                f"The file is larger than {MAXIMUM_BYTES} bytes.",
                "`keylease policy example` shows what belongs into it.",
            )
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self._fail(
                "The file is not UTF-8.", "Save it as UTF-8 in your editor.", Position(line, 1)
            )

    def _parse(self, text: str) -> dict[str, object]:
        try:
            # Decimal keeps amounts of money as they are written.
            values = tomllib.loads(text, parse_float=_decimal)
            self._positions = positions(text)
        except tomllib.TOMLDecodeError as error:
            message = str(error)
            located = _LOCATED.search(message)
            position = _WHOLE_FILE
            if located is not None:
                message = message[: located.start()]
                position = Position(text.count("\n") + 1, 1)
                if located[1]:
                    position = Position(int(located[1]), int(located[2]))
            reason = detectors.mask(message)[0].replace("\n", " ")
            self._fail(f"The file is not valid TOML: {reason}.", _toml_hint(reason), position)
        except RecursionError:
            self._fail(
                "The file is nested too deeply.", "Write its tables as [table] and [[table]]."
            )
        except ValueError:  # an integer with more digits than Python converts
            self._fail("The file holds a number that is too long.", "Write a shorter one.")
        return values

    def _fail(self, message: str, suggestion: str, position: Position = _WHOLE_FILE) -> NoReturn:
        self._diagnostics.append(
            Diagnostic(
                path=str(self.path),
                line=position.line,
                column=position.column,
                message=message,
                suggestion=suggestion,
            )
        )
        self.finish()
        raise AssertionError("finish() raises when there is an error")

    # --- diagnostics -----------------------------------------------------------------------

    def position(self, path: TomlPath) -> Position:
        """Where a path stands, or where the innermost part of it that does stands."""
        while path and path not in self._positions:
            path = path[:-1]
        return self._positions.get(path, Position(1, 1))

    def report(
        self,
        path: TomlPath,
        message: str,
        suggestion: str = "",
        *,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Note a mistake at a path of the document."""
        if path in self._secret_paths:
            return  # said already, and nothing else matters there
        line, column = self.position(path)
        self._diagnostics.append(
            Diagnostic(
                path=str(self.path),
                line=line,
                column=column,
                message=message,
                suggestion=suggestion,
                severity=severity,
            )
        )

    def warn(self, path: TomlPath, message: str, suggestion: str = "") -> None:
        """Note something that is allowed and probably not meant."""
        self.report(path, message, suggestion, severity=Severity.WARNING)

    @property
    def broken(self) -> bool:
        """An error was reported."""
        return any(item.severity is Severity.ERROR for item in self._diagnostics)

    def finish(self) -> tuple[Diagnostic, ...]:
        """Raise the file's error if there is one; otherwise give the warnings. In file order."""
        found = tuple(sorted(self._diagnostics, key=lambda d: (d.line, d.column, d.message)))
        errors = [item for item in found if item.severity is Severity.ERROR]
        if errors:
            count = "1 mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
            listed = "\n".join(f"  {item}" for item in errors)
            raise self._error(
                f"{self.path} has {count}:\n{listed}",
                diagnostics=found,
                advice="`keylease policy check` shows them all, with warnings.",
            )
        return found

    def root(self, known: Iterable[str]) -> Table:
        """The top table, after its ``version`` and the absence of secrets were checked."""
        table = Table(self, (), self.values)
        self._check_version(table)
        self._refuse_secrets((), self.values)
        table.known(known)
        return table

    def _check_version(self, table: Table) -> None:
        version = table.values.get("version")
        table.take("version")
        if version is None:
            self.report((), "The file does not say its version.", "Begin it with: version = 1")
        elif isinstance(version, bool) or not isinstance(version, int) or version < 1:
            self.report(("version",), "version must be a whole number.", "Write: version = 1")
        elif version > FILE_VERSION:
            self.report(
                ("version",),
                f"The file has version {quoted(version)}, which is newer than this program reads.",
                "Update Keylease, or write the file in version 1.",
            )

    def _refuse_secrets(self, path: TomlPath, value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if detectors.looks_like_secret(key):
                    self._report_secret((*path, key))
                self._refuse_secrets((*path, key), item)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._refuse_secrets((*path, number), item)
        elif isinstance(value, str) and detectors.looks_like_secret(value):
            self._report_secret(path)

    def _report_secret(self, path: TomlPath) -> None:
        self.report(
            path,
            "This looks like a secret. This file holds references to secrets, never secrets.",
            "Take it out, rotate it, and keep the new one in a store: `keylease secret put NAME` "
            'and reference = "sealed://NAME".',
        )
        self._secret_paths.add(path)


class Table:
    """One table of a document; remembers which of its keys were asked for."""

    def __init__(self, document: Document, path: TomlPath, values: dict[str, object]) -> None:
        self.document = document
        self.path = path
        self.values = values
        self._known: set[str] = set()
        self.damaged = False
        """Something in this table was reported."""

    # --- keys ------------------------------------------------------------------------------

    def take(self, key: str) -> object:
        """A raw value, or ``None``; the key counts as known."""
        self._known.add(key)
        return self.values.get(key)

    def known(self, keys: Iterable[str]) -> None:
        """Further keys that are allowed."""
        self._known.update(keys)

    def finish(self) -> None:
        """Report the keys that nobody asked for."""
        for key in self.values:
            if key not in self._known:
                name = ".".join(str(part) for part in self.path if isinstance(part, str))
                where = f" in [{name}]" if name else ""
                self.report(
                    key,
                    f"There is no setting {quoted(key)}{where}.",
                    did_you_mean(key, sorted(self._known)),
                )

    def report(self, key: str, message: str, suggestion: str = "") -> None:
        """Note a mistake at one of this table's keys, or at the table when the key is missing."""
        self.damaged = True
        self.document.report((*self.path, key) if key else self.path, message, suggestion)

    def warn(self, key: str, message: str, suggestion: str = "") -> None:
        """Note something that is probably not meant."""
        self.document.warn((*self.path, key) if key else self.path, message, suggestion)

    # --- values ----------------------------------------------------------------------------

    def parsed(
        self,
        key: str,
        kinds: type | tuple[type, ...],
        parse: Callable[..., _Value],
        default: _Default,
        *,
        expected: str,
        required: bool = False,
    ) -> _Value | _Default:
        """A value of one of ``kinds`` as ``parse`` reads it; its ``ValueError`` is reported."""
        value = self.take(key)
        if value is None:
            if required:
                self.report(key, f"{key} is missing.", f"Write: {key} = {expected}")
            return default
        # bool is an int to Python, and not to a person.
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            self.report(key, f"{key} must be {_kind_name(wanted)}.", f"Write: {key} = {expected}")
            return default
        try:
            return parse(value)
        except ValueError as error:
            self.report(key, f"{key} must be {error}.", f"It is {quoted(value)}.")
            return default

    def text(
        self, key: str, default: str = "", *, required: bool = False, expected: str = '"..."'
    ) -> str:
        """Text in one line."""
        return self.parsed(key, str, _line, default, expected=expected, required=required)

    def integer(self, key: str, default: int, *, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        value = self.optional_integer(key, minimum=minimum, maximum=maximum)
        return default if value is None else value

    def optional_integer(self, key: str, *, minimum: int, maximum: int) -> int | None:
        """A whole number within bounds, or ``None`` when it is not there."""

        def within(value: int) -> int:
            if not minimum <= value <= maximum:
                raise ValueError(f"from {minimum} to {maximum}")
            return value

        return self.parsed(key, int, within, None, expected=str(minimum))

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        return self.parsed(key, bool, bool, default, expected="true")

    def choice(self, key: str, kind: type[_Choice], default: _Choice) -> _Choice:
        """One of a few words."""
        value = self.text(key, default.value, expected=f'"{default.value}"')
        try:
            return kind(value)
        except ValueError:
            self.report(key, f"{key} cannot be {quoted(value)}.", did_you_mean(value, list(kind)))
            return default

    def texts(
        self, key: str, default: Sequence[str] = (), *, required: bool = False
    ) -> tuple[str, ...]:
        """A list of different, non-empty texts; one text alone counts as a list of one."""
        value = self.take(key)
        if value is None:
            if required:
                self.report(key, f"{key} is missing.", f'Write: {key} = ["..."]')
            return tuple(default)
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            self.report(key, f"{key} must be a list of texts.", f'Write: {key} = ["..."]')
            return tuple(default)
        if required and not items:
            self.report(key, f"{key} is empty.", f'Write: {key} = ["..."]')
        seen: list[str] = []
        for number, item in enumerate(items):
            place = (*self.path, key, number)
            if not item or not item.isprintable():
                self.damaged = True
                self.document.report(
                    place, f"{key} holds an empty or unprintable text.", "Take it out."
                )
            elif item in seen:
                self.document.warn(
                    place, f"{quoted(item)} is listed twice in {key}.", "Take one of them out."
                )
            else:
                seen.append(item)
        return tuple(seen)

    def each(
        self,
        key: str,
        parse: Callable[[str], _Value],
        default: Sequence[str] = (),
        *,
        expected: str,
        required: bool = False,
    ) -> tuple[_Value, ...]:
        """A list of texts, each as ``parse`` reads it; its ``ValueError`` is reported.

        ``expected`` is an entry as it would stand in the file.
        """
        result = []
        for item in self.texts(key, default, required=required):
            try:
                result.append(parse(item))
            except ValueError as error:
                self.damaged = True
                self.document.report(
                    self._place_of(key, item),
                    f"{quoted(item)} in {key} is not {error}.",
                    f"Write: {key} = [{expected}]",
                )
        return tuple(result)

    def words(
        self,
        key: str,
        kind: type[_Choice],
        default: Sequence[_Choice] = (),
        *,
        required: bool = False,
    ) -> tuple[_Choice, ...]:
        """A list of some of a few words."""
        result = []
        for item in self.texts(key, [word.value for word in default], required=required):
            if item in list(kind):
                result.append(kind(item))
            else:
                self.damaged = True
                self.document.report(
                    self._place_of(key, item),
                    f"{key} cannot hold {quoted(item)}.",
                    did_you_mean(item, list(kind)),
                )
        return tuple(result)

    def _place_of(self, key: str, item: str) -> TomlPath:
        value = self.values.get(key)
        number = value.index(item) if isinstance(value, list) and item in value else None
        return (*self.path, key) if number is None else (*self.path, key, number)

    # --- tables inside ---------------------------------------------------------------------

    def table(self, key: str) -> Table:
        """A table inside this one; an empty one when it is not there."""
        value = self.take(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.report(key, f"{key} must be a table.", f"Write: [{key}]")
            value = {}
        return Table(self.document, (*self.path, key), value)

    def tables(self, key: str, *, inline: bool = False) -> list[Table]:
        """A list of tables inside this one."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            form = f"{key} = [{{ ... }}]" if inline else f"[[{key}]]"
            self.report(key, f"{key} must be a list of tables.", f"Write: {form}")
            return []
        return [
            Table(self.document, (*self.path, key, number), item)
            for number, item in enumerate(value)
        ]


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text.replace("_", ""))
    except ArithmeticError:  # an exponent beyond what decimal represents
        return Decimal("NaN")


def _line(value: str) -> str:
    if not value.isprintable() or not value.strip():
        raise ValueError("text in one line, and not empty")
    return value


def _kind_name(kinds: tuple[type, ...]) -> str:
    names = {str: "text", int: "a whole number", bool: "true or false", Decimal: "a number"}
    return " or ".join(names[kind] for kind in kinds)


def _toml_hint(reason: str) -> str:
    if "Invalid value" in reason:
        return 'Text stands in quotes: key = "value".'
    if "Cannot overwrite" in reason or "twice" in reason:
        return "Each key and each table is written once; lists of tables use [[name]]."
    return "Look at the quotes and brackets in this line and the one before."
