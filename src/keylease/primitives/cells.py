"""Cells of CSV files, which are opened by spreadsheets and shown by terminals.

Protects: a cell that a spreadsheet would calculate gets an apostrophe in front, which it shows as
    the beginning of a text; what would move a terminal's cursor, colour it or turn the direction of
    writing becomes a question mark. Line breaks and tabs stay.
Does not protect: programs that read the apostrophe as a part of the text get one character more.

Source: owasp.org/www-community/attacks/CSV_Injection, and the full-width forms that spreadsheets
take for the same signs in some locales.
"""

from __future__ import annotations

from typing import Final

_FORMULA: Final = (
    *("=", "+", "-", "@", "\t", "\r", "\n"),
    *("\uff1d", "\uff0b", "\uff0d", "\uff20"),
)
"""What spreadsheets take for a formula, or skip in front of one, at the start of a cell."""
_KEPT: Final = frozenset("\n\t\u3000\xa0")


def harmless(value: object) -> str:
    """A value as the text of a cell; ``None`` is an empty one."""
    text = "" if value is None else str(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in _KEPT else "?" for c in text)
    return f"'{text}" if text.startswith(_FORMULA) else text
