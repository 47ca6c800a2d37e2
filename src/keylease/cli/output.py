"""How the command line talks.

stdout is data: what another program may read. stderr is talk: progress, warnings, errors, hints.
Everything is readable without colour; colour is added on a terminal unless ``NO_COLOR`` is set.
"""

from __future__ import annotations

import functools
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Final, TextIO

import msgspec

from keylease.errors import Diagnostic, KeyleaseError, SettingsInvalid, Severity
from keylease.settings import Color, load

_UNPRINTABLE: Final = re.compile(r"[^\n\x20-\x7e]")
_BOLD: Final = "1"
_RED: Final = "1;31"
_YELLOW: Final = "1;33"
_BLUE: Final = "1;34"


def emit(text: str = "") -> None:
    """Write lines of data to stdout; nothing in them moves the cursor or colours the screen."""
    print(_lines(text))


def emit_json(value: object, *, indent: int = 2) -> None:
    """Write a value as JSON to stdout; with ``indent=0`` on one line."""
    print(json_text(value, indent=indent))


def json_text(value: object, *, indent: int = 2) -> str:
    """A value as JSON; with ``indent=0`` on one line.

    What moves the cursor or turns the direction of writing is escaped: JSON itself allows it.
    """
    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
    return _UNPRINTABLE.sub(_escaped, text)


def printable(text: str) -> str:
    """A line of foreign text without what would move the cursor or colour the screen."""
    return _cell(text)


def emit_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write aligned columns to stdout; with no rows, nothing."""
    if not rows:
        return
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(heading), *(len(row[column]) for row in cells))
        for column, heading in enumerate(headings)
    ]
    print(_paint(_aligned(headings, widths), _BOLD, sys.stdout))
    for row in cells:
        print(_aligned(row, widths))


def emit_diagnostic(item: Diagnostic) -> None:
    """Write a diagnostic to stdout, as compilers do: the place, the severity, what, and a hint."""
    place = f"{item.path}:{item.line}:{item.column}" if item.line else item.path
    colour = _RED if item.severity is Severity.ERROR else _YELLOW
    severity = _paint(f"{item.severity.value}:", colour, sys.stdout)
    print(f"{_paint(_cell(place) + ':', _BOLD, sys.stdout)} {severity} {_cell(item.message)}")
    if item.suggestion:
        print(f"    {_paint('hint:', _BLUE, sys.stdout)} {_cell(item.suggestion)}")


def say(text: str = "") -> None:
    """Write lines of talk to stderr; they may quote foreign text, as ``emit`` may."""
    _talk(_lines(text))


def warn(text: str) -> None:
    """Say something the reader can act on."""
    _talk(f"{_paint('warning:', _YELLOW, sys.stderr)} {_lines(text)}")


def hint(text: str) -> None:
    """Say what to do next; apart from the error itself."""
    _talk(f"{_paint('hint:', _BLUE, sys.stderr)} {_lines(text)}")


def show_error(error: KeyleaseError) -> None:
    """Show an error that was raised on purpose."""
    # A message may quote what a gateway, a store or a file says.
    _talk(f"{_paint('error:', _RED, sys.stderr)} {_lines(error.message)}")
    if error.advice:
        hint(error.advice)


def show_defect(error: BaseException, *, details: bool) -> None:
    """Show an error that nobody foresaw: one line, or the traceback without any local values."""
    _talk(f"{_paint('error:', _RED, sys.stderr)} {type(error).__name__} (this is a defect)")
    if details:
        # The exception's own text is left out on purpose only of the short form: --debug asks
        # for it. Local variables are never shown: they could hold a lease.
        say("".join(traceback.format_exception(error)).rstrip())
    else:
        hint("Run it again as `keylease --debug ...` for the details.")


def counted(number: int, thing: str) -> str:
    """``1 worker``, ``2 workers``, ``no workers``."""
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _talk(text: str) -> None:
    sys.stdout.flush()  # in one terminal or file, talk stands behind the data it is about
    print(text, file=sys.stderr, flush=True)


def _lines(text: str) -> str:
    """Lines as they are, but for what would move the cursor; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    # Foreign text (model names, answers of stores) must not move the cursor or colour the screen.
    return "".join(character if character.isprintable() else "?" for character in text)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _paint(text: str, code: str, stream: TextIO) -> str:
    wanted = _color()
    paint = stream.isatty() if wanted is Color.AUTO else wanted is Color.ALWAYS
    return f"\x1b[{code}m{text}\x1b[0m" if paint else text


@functools.cache
def _color() -> Color:
    try:
        return load({}).settings.color
    except SettingsInvalid:
        # The command itself says what is wrong with the settings; that message needs no colour.
        return Color.NEVER
