"""Patterns with ``*``, and the question whether one says no more than another.

``*`` stands for any characters, also none; no other character is special. Matching takes time in
proportion to the lengths, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
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


def patterns_meet(*lists: tuple[str, ...]) -> bool:
    """Whether some word matches a pattern of every list."""
    first, *others = lists
    met = set(first)
    for other in others:
        met = {meeting for one in met for two in other for meeting in _meetings(one, two)}
    return bool(met)


@lru_cache(maxsize=4096)
def _meetings(one: str, two: str) -> frozenset[str]:
    """Patterns for words that match both; empty when there are none.

    Exact when one of the two has no ``*`` or only one at its end, as nearly all have; otherwise
    the wider answer.
    """
    if matches(one, two):
        return frozenset({two})
    if matches(two, one):
        return frozenset({one})
    if "*" not in one or "*" not in two:
        return frozenset()
    head_one, head_two = one.partition("*")[0], two.partition("*")[0]
    tail_one, tail_two = one.rpartition("*")[2], two.rpartition("*")[2]
    if not (head_one.startswith(head_two) or head_two.startswith(head_one)):
        return frozenset()
    if not (tail_one.endswith(tail_two) or tail_two.endswith(tail_one)):
        return frozenset()
    head = max(head_one, head_two, key=len)
    tail = max(tail_one, tail_two, key=len)
    return frozenset({f"{head}*{tail}"})
