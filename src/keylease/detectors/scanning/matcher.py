"""Where a secret may begin: every definition's trigger, looked for in one pass over the data.

With vectorscan (the ``hyperscan`` package, in the base install where it has wheels) this runs at
memory speed. Without it the literals of the same definitions are searched one after the other:
slower, and the same candidates and more. Nothing is decided here; ``confirming`` does that.

The compiled database lives in this process only. Compiling takes some hundredths of a second, so
nothing is kept on disk that could be stale, foreign or changed: a database is machine-near code,
and loading one from a file that somebody else wrote would run it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from enum import Flag, auto
from typing import Any, Final, NamedTuple, Protocol

from keylease.detectors.definition import Definition, Shape
from keylease.detectors.definitions import ALL, SHAPES
from keylease.detectors.naming import name_expression

BARE_GAP: Final = 80
"""Characters between a provider's name and a value that no telling word announces."""


class Gate(Flag):
    """What a piece of data may hold that has to be decoded."""

    NONE = 0
    BASE64 = auto()
    JSON = auto()
    URL = auto()


GATES: Final[dict[Gate, str]] = {
    Gate.BASE64: r"[A-Za-z0-9+/]{28}",
    Gate.JSON: r"""\\(?:u00[0-7][0-9a-fA-F]|["/])""",
    Gate.URL: r"%[2-7][0-9A-Fa-f]",
}


class Bare(NamedTuple):
    """Values that stand right behind one of their provider's names, without a telling word."""

    names: re.Pattern[str]
    trigger: str
    trigger_reach: int


class Candidate(NamedTuple):
    """A place at which a rule's trigger matched."""

    rule: int
    """Index into ``RULES``."""
    start: int
    end: int


def _bare(shapes: tuple[Shape, ...]) -> Bare:
    names = "|".join(
        sorted({name_expression(name) for shape in shapes if shape.bare for name in shape.names})
    )
    without_lookahead = re.sub(r"\(\?![^)]*\)", "", names)
    return Bare(
        names=re.compile(f"(?i:{names})"),
        trigger=(
            f"(?i:{without_lookahead})(?s:.{{0,{BARE_GAP}}})"
            r"""["'=:,(\s][A-Za-z0-9+/-]{24}"""
        ),
        trigger_reach=BARE_GAP + 64,
    )


RULES: Final[tuple[Definition | Bare, ...]] = (*ALL, _bare(SHAPES))


class Matcher(Protocol):
    """Finds candidates."""

    name: str

    def candidates(self, data: bytes) -> tuple[list[Candidate], Gate]:
        """Every place where a rule's trigger matches, by start, and the gates that are open."""
        ...


class VectorscanMatcher:
    """All triggers as one database of vectorscan."""

    name: str = "vectorscan"

    def __init__(self, hyperscan: Any) -> None:  # noqa: ANN401 - an optional module
        triggers = [_trigger(rule) for rule in RULES]
        gates = list(GATES)
        expressions = [*triggers, *GATES.values()]
        self._reaches = [rule.trigger_reach for rule in RULES]
        flags = [0 if reach else hyperscan.HS_FLAG_SOM_LEFTMOST for reach in self._reaches]
        flags += [hyperscan.HS_FLAG_SINGLEMATCH] * len(gates)
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=[expression.encode() for expression in expressions],
            ids=list(range(len(expressions))),
            flags=flags,
        )
        self._gates = gates
        self._found: list[tuple[int, int, int]] = []
        self._last: dict[int, tuple[int, int]] = {}
        self._open = Gate.NONE
        # Kept, because the extension does not hold a reference of its own while it scans.
        self._on_match = self._take

    def candidates(self, data: bytes) -> tuple[list[Candidate], Gate]:
        """As ``Matcher`` says."""
        self._last, self._open = {}, Gate.NONE
        self._database.scan(data, match_event_handler=self._on_match)
        merged: dict[tuple[int, int], int] = {}
        found, self._found = self._found, []
        for rule, start, end in found:
            merged[rule, start] = max(end, merged.get((rule, start), 0))
        candidates = [Candidate(rule, start, end) for (rule, start), end in merged.items()]
        candidates.sort(key=_by_start)
        return candidates, self._open

    def _take(self, rule: int, start: int, end: int, flags: int, context: object) -> None:
        del flags, context
        if rule < len(RULES):
            reach = self._reaches[rule]
            self._found.append((rule, max(0, end - reach) if reach else start, end))
        else:
            self._open |= self._gates[rule - len(RULES)]


class LiteralMatcher:
    """The literals of the definitions, one after the other; needs nothing but Python."""

    name: str = "literals"

    def __init__(self) -> None:
        self._rules: list[tuple[int, Callable[[bytes], Iterator[tuple[int, int]]]]] = []
        for index, rule in enumerate(RULES):
            if isinstance(rule, Definition):
                literals = [literal.encode() for literal in rule.literals]
                self._rules.append(
                    (index, functools.partial(_literal_places, literals, rule.offset))
                )
            else:
                expression = re.compile(rule.trigger.encode())
                self._rules.append((index, functools.partial(_expression_places, expression)))
        self._gates = [(gate, re.compile(text.encode())) for gate, text in GATES.items()]

    def candidates(self, data: bytes) -> tuple[list[Candidate], Gate]:
        """As ``Matcher`` says."""
        found = [
            Candidate(index, start, end)
            for index, places in self._rules
            for start, end in places(data)
        ]
        found.sort(key=_by_start)
        open_gates = Gate.NONE
        for gate, expression in self._gates:
            if expression.search(data) is not None:
                open_gates |= gate
        return found, open_gates


def _by_start(candidate: Candidate) -> int:
    return candidate.start


def _literal_places(literals: list[bytes], offset: int, data: bytes) -> Iterator[tuple[int, int]]:
    for literal in literals:
        position = data.find(literal, offset)
        while position >= 0:
            yield position - offset, position + len(literal)
            position = data.find(literal, position + len(literal))


def _expression_places(expression: re.Pattern[bytes], data: bytes) -> Iterator[tuple[int, int]]:
    for match in expression.finditer(data):
        yield match.span()


def _trigger(rule: Definition | Bare) -> str:
    if isinstance(rule, Bare) or rule.trigger:
        return rule.trigger
    return "|".join(map(re.escape, rule.literals))


@functools.cache
def _vectorscan() -> VectorscanMatcher:
    return VectorscanMatcher(importlib.import_module("hyperscan"))


def matcher() -> Matcher:
    """The fastest one that this installation has."""
    if importlib.util.find_spec("hyperscan") is not None:
        return _vectorscan()
    return LiteralMatcher()
