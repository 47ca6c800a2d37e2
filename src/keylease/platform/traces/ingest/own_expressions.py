"""A project's own expressions, in time that is linear in the text.

Vectorscan reads every character once whatever the expression is; what it cannot express (references
to groups, looking around) is refused with its reason. Without it Python's engine is used, and only
for expressions whose every repetition is short and of single characters.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import threading
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

from keylease.errors import InputInvalid
from keylease.platform.traces.expression_size import size_of

# How the standard library reads an expression, under a name that it calls private.
_parser: Final[Any] = importlib.import_module("re._parser")
_codes: Final[Any] = importlib.import_module("re._constants")
LARGEST: Final = 1_000
"""Characters of an expression with its repetitions written out, as the engine writes them."""
_LONGEST_REPEAT: Final = 64
_MOST_REPEATS: Final = 2
"""Repetitions of variable length in one expression: their lengths multiply."""
_REPEATS: Final = frozenset({_codes.MAX_REPEAT, _codes.MIN_REPEAT, _codes.POSSESSIVE_REPEAT})
_SIMPLE: Final = frozenset(
    {_codes.LITERAL, _codes.NOT_LITERAL, _codes.IN, _codes.ANY, _codes.CATEGORY}
)


class Span(NamedTuple):
    """Characters of a text that a rule names."""

    start: int
    end: int
    name: str


class _Engine(Protocol):
    def spans(self, text: str) -> list[Span]: ...


class OwnExpressions:
    """Some expressions, each with its name."""

    def __init__(self, expressions: list[tuple[str, str]], *, vectorscan: bool = True) -> None:
        """Raise ``InputInvalid`` for one that cannot be used. Tests turn ``vectorscan`` off.

        Takes seconds for some: not for the event loop.
        """
        for name, expression in expressions:
            if size_of(expression) > LARGEST:
                raise InputInvalid(
                    f"The expression {name} repeats too much.",
                    advice=f"Written out, it may have {LARGEST:,} characters at most.",
                )
        self._engine: _Engine | None = None
        if expressions:
            fast = vectorscan and importlib.util.find_spec("hyperscan") is not None
            self._engine = _Vectorscan(expressions) if fast else _Python(expressions)

    def spans(self, text: str) -> list[Span]:
        """What they match: from the leftmost start the longest; none is empty."""
        return self._engine.spans(text) if self._engine is not None else []


class _Vectorscan:
    def __init__(self, expressions: list[tuple[str, str]]) -> None:
        self._hyperscan: Any = importlib.import_module("hyperscan")
        self._names = [name for name, _ in expressions]
        flags = self._hyperscan.HS_FLAG_SOM_LEFTMOST | self._hyperscan.HS_FLAG_UTF8
        self._databases = []
        for name, expression in expressions:
            database = self._hyperscan.Database(mode=self._hyperscan.HS_MODE_BLOCK)
            try:
                database.compile(expressions=[expression.encode()], ids=[0], flags=[flags])
            except self._hyperscan.error as error:
                raise InputInvalid(
                    f"The expression {name} cannot be used: {_reason(error)}.",
                    advice="Expressions have no references to groups, do not look around, and"
                    " match at least one character.",
                ) from None
            self._databases.append(database)
        self._local = threading.local()

    def spans(self, text: str) -> list[Span]:
        data = text.encode("utf-8", "replace")
        found: list[Span] = []
        for number, database in enumerate(self._databases):
            ends: dict[int, int] = {}

            def take(_: int, start: int, end: int, *rest: object) -> None:
                del rest
                ends[start] = max(end, ends.get(start, 0))  # noqa: B023 - used within this turn

            database.scan(data, match_event_handler=take, scratch=self._scratch(number))
            found += (Span(start, end, self._names[number]) for start, end in ends.items())
        return found if text.isascii() else list(_in_characters(found, data))

    def _scratch(self, number: int) -> Any:  # noqa: ANN401 - an optional module's
        """What a scan writes to: one for each thread."""
        scratches: dict[int, Any] = self._local.__dict__.setdefault("scratches", {})
        if number not in scratches:
            scratches[number] = self._hyperscan.Scratch(self._databases[number])
        return scratches[number]


class _Python:
    def __init__(self, expressions: list[tuple[str, str]]) -> None:
        self._patterns = [(name, _bounded(name, expression)) for name, expression in expressions]

    def spans(self, text: str) -> list[Span]:
        return [
            Span(*match.span(), name)
            for name, pattern in self._patterns
            for match in pattern.finditer(text)
            if match.end() > match.start()
        ]


def _in_characters(spans: Iterable[Span], data: bytes) -> Iterable[Span]:
    """Places in UTF-8 as places in the text; in order, so that nothing is decoded twice."""
    places = sorted({place for span in spans for place in (span.start, span.end)})
    characters: dict[int, int] = {}
    at = number = 0
    for place in places:
        number += len(data[at:place].decode("utf-8", "ignore"))
        characters[place] = number
        at = place
    for span in spans:
        yield Span(characters[span.start], characters[span.end], span.name)


def _reason(error: Exception) -> str:
    """The library's own words, without its function's name."""
    text = str(error).strip().rstrip(".")
    return text[:200] if text.isprintable() else "it is no regular expression"


def _bounded(name: str, expression: str) -> re.Pattern[str]:
    """Compile an expression that Python's engine cannot be slow with; else raise."""
    try:
        parsed = _parser.parse(expression)
        pattern = re.compile(expression)
    except (re.error, RecursionError, OverflowError):
        raise InputInvalid(f"The expression {name} is no regular expression.") from None
    if _variable_repeats(parsed) > _MOST_REPEATS or parsed.getwidth()[0] == 0:
        raise _too_free(name)
    return pattern


def _variable_repeats(parsed: Iterable[Any]) -> int:
    count = 0
    for operation, argument in parsed:
        if operation in _REPEATS:
            low, high, inner = argument
            simple = len(inner) == 1 and inner[0][0] in _SIMPLE
            if high > _LONGEST_REPEAT or not simple:
                return _MOST_REPEATS + 1
            count += low != high
        elif operation is _codes.SUBPATTERN:
            count += _variable_repeats(argument[-1])
        elif operation is _codes.BRANCH:
            count += sum(map(_variable_repeats, argument[1]))
        elif operation not in _SIMPLE and operation is not _codes.AT:
            return _MOST_REPEATS + 1
    return count


def _too_free(name: str) -> InputInvalid:
    return InputInvalid(
        f"The expression {name} could take too long on this server.",
        advice=f"Use at most {_MOST_REPEATS} repetitions of variable length, of single characters"
        f" and up to {_LONGEST_REPEAT} each, or install the hyperscan package.",
    )
