"""Patterns with ``*``, and the question whether one says no more than another.

``*`` stands for any characters, also none; no other character is special. Matching takes time in
proportion to the lengths, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_NO_CHARACTER: Final = "\0"
"""Stands for what a ``*`` may become; ``is_pattern`` keeps it out of patterns."""
MAXIMUM_LENGTH: Final = 256


def is_pattern(text: str) -> bool:
    """Whether ``text`` can be a pattern for models, environments or principals."""
    return (
        0 < len(text) <= MAXIMUM_LENGTH and text.isascii() and text.isprintable()
    ) and " " not in text


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern describes the text."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, place, end) if place <= end else -1
        if found < 0:
            return False
        place = found + len(piece)
    return place <= end


def covers(wide: str, narrow: str) -> bool:
    """Whether everything that ``narrow`` describes is described by ``wide`` too.

    Exact, not an estimate: put a character that occurs nowhere in the place of every ``*`` of
    ``narrow``. Only a ``*`` of ``wide`` can take that character, and a ``*`` takes anything, so
    ``wide`` describes this one text exactly when it describes all of them.
    """
    return matches(wide, narrow.replace("*", _NO_CHARACTER))


def any_covers(wide: Iterable[str], narrow: str) -> bool:
    """Whether one of the patterns covers ``narrow``."""
    return any(covers(pattern, narrow) for pattern in wide)
