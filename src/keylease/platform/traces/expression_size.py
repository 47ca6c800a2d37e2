"""How large a regular expression is once its repetitions are written out.

Protects: a matching engine that never backtracks writes them out before it searches. An expression
    of twenty characters, ``(a{1,500}){1,500}``, then takes seconds of time and half a gigabyte; it
    is refused before the engine sees it.
Does not protect: the size says nothing about what an engine makes of references and looking
    around, which those that are used here refuse.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"(?P<atom>\\[pPx]\{[^}]*\}|\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])"
    r"|(?P<open>\((?:\?(?:[imsxUJ-]*:|P?<\w+>|'\w+'|[imsxUJ-]*(?=\))|\S))?)|(?P<close>\))"
    r"|(?P<repeat>\{(?P<least>\d{1,9})(?P<most>,\d{0,9})?\}[?+]?)|(?P<loop>[*+?][?+]?)|(?P<none>[|^$])|.",
    re.DOTALL,
)
_LITERAL: Final = len("\\Q\\E")


def size_of(expression: str) -> int:
    """Characters and classes that it has, each as often as repetitions ask for it at most."""
    above: list[int] = []
    size = last = 0
    """Of this group, and of what a repetition would repeat."""
    for token in _TOKEN.finditer(expression):
        if token["open"]:
            above.append(size)
            size = last = 0
        elif token["close"]:
            last = size
            size += above.pop() if above else 0
        elif token["repeat"]:
            most = (token["most"] or "")[1:]
            times = max(int(most or token["least"]), int(token["least"]), 1)
            size += last * (times - 1)
            last *= times
        elif not (token["loop"] or token["none"]):
            text = token["atom"] or ""
            last = max(1, len(text) - _LITERAL) if text.startswith("\\Q") else 1
            size += last
    return size + sum(above)
