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
from collections.abc import Iterator
from enum import Flag, auto
from typing import Any, Final, NamedTuple, Protocol

from keylease.detectors.definition import Definition, Shape
from keylease.detectors.definitions import ALL, SHAPES
from keylease.detectors.naming import name_expression
from keylease.detectors.scanning.runs import BASE64_RUN, RUNS, SHORTEST_RUN

BARE_GAP: Final = 80
"""Characters between a provider's name and a value that no telling word announces."""


class Gate(Flag):
    """What a piece of data may hold that has to be decoded."""

    NONE = 0
    BASE64 = auto()
    JSON = auto()
    URL = auto()
    INVISIBLE = auto()


INVISIBLE: Final = (
    r"(?:\xc2\xad|\xcd\x8f|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xa9]"
    r"|\xef\xb8[\x80-\x8f]|\xef\xbb\xbf)"
)
"""What pages, PDFs and chats put into words and nobody sees, in UTF-8: soft hyphens, joiners,
spaces without width, marks of direction, variation selectors."""
GATES: Final[dict[Gate, str]] = {
    Gate.BASE64: f"[A-Za-z0-9+/]{{{SHORTEST_RUN}}}",
    Gate.JSON: (
        r"""\\(?:u(?:00[0-7][0-9a-fA-F]|00[aA][dD]|034[fF]|200[b-fB-F]|202[a-eA-E]|206[0-9]"""
        r"""|[fF][eE][0fF])|["/])"""
    ),
    Gate.URL: r"%[2-7][0-9A-Fa-f]",
    Gate.INVISIBLE: rf"[!-~]{INVISIBLE}{{1,8}}[!-~]",
}
_INVISIBLE_INSIDE: Final = re.compile(GATES[Gate.INVISIBLE].encode())


class Bare(NamedTuple):
    """Values that stand right behind one of their provider's names, without a telling word."""

    names: re.Pattern[str]
    trigger: str
    trigger_reach: int
    words: tuple[bytes, ...]
    """One of them stands in whatever ``names`` matches, in lower case."""


class Candidate(NamedTuple):
    """A place at which a rule's trigger matched."""

    rule: int
    """Index into ``RULES``."""
    start: int
    end: int


def _bare(shapes: tuple[Shape, ...]) -> Bare:
    names = {re.sub(r"\\b", "", name) for shape in shapes if shape.bare for name in shape.names}
    joined = "|".join(sorted(map(name_expression, names)))
    without_lookahead = re.sub(r"\(\?![^)]*\)", "", joined)
    return Bare(
        names=re.compile(f"(?i:{joined})"),
        trigger=(
            f"(?i:{without_lookahead})(?s:.{{0,{BARE_GAP}}})"
            r"""["'=:,(\s][A-Za-z0-9+/-]{24}"""
        ),
        trigger_reach=BARE_GAP + 64,
        words=tuple(
            sorted({max(re.findall("[a-z0-9]+", name), key=len).encode() for name in names})
        ),
    )


RULES: Final[tuple[Definition | Bare, ...]] = (*ALL, _bare(SHAPES))


class Matcher(Protocol):
    """Finds candidates."""

    name: str

    def candidates(self, data: bytes) -> tuple[list[Candidate], Gate]:
        """Every place where a rule's trigger matches, by start, and the gates that are open."""
        ...


class VectorscanMatcher:
    """All triggers as one database of vectorscan.

    The database is shared by all matchers of a process; what a scan writes to is each one's own.
    """

    name: str = "vectorscan"

    def __init__(self, hyperscan: Any, database: Any) -> None:  # noqa: ANN401 - an optional module
        self._database = database
        self._scratch = hyperscan.Scratch(database)
        self._triggers = list(_triggers().items())
        self._gates = list(GATES)
        self._starts: dict[tuple[int, int], int] = {}
        self._stretches: dict[int, list[list[int]]] = {}
        self._open = Gate.NONE
        # Kept, because the extension does not hold a reference of its own while it scans.
        self._on_match = self._take

    def candidates(self, data: bytes) -> tuple[list[Candidate], Gate]:
        """As ``Matcher`` says."""
        self._starts, self._stretches, self._open = {}, {}, Gate.NONE
        self._database.scan(data, match_event_handler=self._on_match, scratch=self._scratch)
        found = [Candidate(rule, start, end) for (rule, start), end in self._starts.items()]
        for rule, stretches in self._stretches.items():
            found += (Candidate(rule, start, end) for start, end in stretches)
        found.sort(key=_by_start)
        return found, self._open

    def _take(self, number: int, start: int, end: int, flags: int, context: object) -> None:
        """One match; they come in order of their ends."""
        del flags, context
        if number >= len(self._triggers):
            self._open |= self._gates[number - len(self._triggers)]
            return
        (_, reach), rules = self._triggers[number]
        for rule in rules:
            if reach == 0:
                self._starts[rule, start] = end
                continue
            stretches = self._stretches.setdefault(rule, [])
            if stretches and end - reach <= stretches[-1][1]:
                stretches[-1][1] = end
            else:
                stretches.append([max(0, end - reach), end])


class LiteralMatcher:
    """The literals of the definitions, one after the other; needs nothing but Python."""

    name: str = "literals"

    def __init__(self) -> None:
        self._literals = [
            (index, literal.encode(), rule.offset)
            for index, rule in enumerate(RULES)
            if isinstance(rule, Definition)
            for literal in rule.literals
        ]
        self._expressions = [
            (index, re.compile(rule.trigger.encode()), rule.words)
            for index, rule in enumerate(RULES)
            if isinstance(rule, Bare)
        ]
        self._gates = [
            (Gate.JSON, re.compile(GATES[Gate.JSON].encode()), b"\\"),
            (Gate.URL, re.compile(GATES[Gate.URL].encode()), b"%"),
        ]

    def candidates(self, data: bytes) -> tuple[list[Candidate], Gate]:
        """As ``Matcher`` says."""
        found = [
            Candidate(index, position - offset, position + len(literal))
            for index, literal, offset in self._literals
            for position in _places(data, literal, offset)
        ]
        lower = data.lower()
        for index, expression, words in self._expressions:
            if any(word in lower for word in words):
                found += (Candidate(index, *match.span()) for match in expression.finditer(data))
        found.sort(key=_by_start)
        open_gates = Gate.BASE64 if BASE64_RUN in data.translate(RUNS) else Gate.NONE
        for gate, expression, byte in self._gates:
            if byte in data and expression.search(data) is not None:
                open_gates |= gate
        if not data.isascii() and _INVISIBLE_INSIDE.search(data) is not None:
            open_gates |= Gate.INVISIBLE
        return found, open_gates


def _by_start(candidate: Candidate) -> int:
    return candidate.start


def _places(data: bytes, literal: bytes, offset: int) -> Iterator[int]:
    position = data.find(literal, offset)
    while position >= 0:
        yield position
        position = data.find(literal, position + len(literal))


def _trigger(rule: Definition | Bare) -> str:
    if isinstance(rule, Bare) or rule.trigger:
        return rule.trigger
    return "|".join(map(re.escape, rule.literals))


@functools.cache
def _triggers() -> dict[tuple[str, int], list[int]]:
    """Each trigger with its reach -> the rules that have it; it is matched once for all of them."""
    triggers: dict[tuple[str, int], list[int]] = {}
    for number, rule in enumerate(RULES):
        triggers.setdefault((_trigger(rule), rule.trigger_reach), []).append(number)
    return triggers


@functools.cache
def _database() -> Any:  # noqa: ANN401 - an optional module
    hyperscan = importlib.import_module("hyperscan")
    expressions = [trigger for trigger, _ in _triggers()]
    flags = [0 if reach else hyperscan.HS_FLAG_SOM_LEFTMOST for _, reach in _triggers()]
    expressions += GATES.values()
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[expression.encode() for expression in expressions],
        ids=list(range(len(expressions))),
        flags=flags + [hyperscan.HS_FLAG_SINGLEMATCH] * len(GATES),
    )
    return database


def matcher() -> Matcher:
    """The fastest one that this installation has."""
    if importlib.util.find_spec("hyperscan") is not None:
        return VectorscanMatcher(importlib.import_module("hyperscan"), _database())
    return LiteralMatcher()
