"""Decides by a filter whether one span is selected, without the store: for the live tail.

Says what ``conditions_sql`` says; a test compares the two on random spans and filters.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Final

import msgspec

from keylease.platform.traces.model import Span
from keylease.platform.traces.query.fields import FieldType
from keylease.platform.traces.query.patterns import searcher
from keylease.platform.traces.query.syntax import (
    All,
    Any,
    AttributeTarget,
    Compare,
    Contains,
    Exists,
    Expression,
    FieldTarget,
    HasTag,
    Matches,
    MetadataTarget,
    Not,
    Operator,
    ScoreTarget,
    Target,
    Value,
    Words,
)
from keylease.platform.traces.query.words import split_words

_Found = Value | list[object] | dict[str, object] | None
_RELATIONS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def selects(expression: Expression, span: Span) -> bool:  # noqa: PLR0911 - one case for each kind
    """Whether the filter selects this span."""
    match expression:
        case All():
            return all(selects(part, span) for part in expression.parts)
        case Any():
            return any(selects(part, span) for part in expression.parts)
        case Not():
            return not selects(expression.part, span)
        case Compare():
            found = _value(expression.target, span)
            return any(_compares(found, expression, value) for value in expression.values)
        case Contains():
            return expression.text in _as_text(_value(expression.target, span))
        case Matches():
            return searcher(expression.pattern)(_as_text(_value(expression.target, span)))
        case Exists():
            return _exists(expression.target, span)
        case HasTag():
            return expression.tag in span.tags
        case Words():
            text = " ".join(getattr(span, column) for column in expression.columns)
            return set(expression.words) <= set(split_words(text))


def prepare(expression: Expression) -> None:
    """Compile the expressions of a filter, which can take seconds, so that ``selects`` need not.

    Raises ``QueryInvalid`` for one that cannot be used here.
    """
    match expression:
        case All() | Any():
            for part in expression.parts:
                prepare(part)
        case Not():
            prepare(expression.part)
        case Matches():
            searcher(expression.pattern)
        case _:
            return


def _value(target: Target, span: Span) -> _Found:
    match target:
        case FieldTarget(field=field):
            if field.type is FieldType.BOOLEAN:
                return not span.parent_span_id
            found: _Found = getattr(span, field.name)
            return found
        case AttributeTarget():
            text = getattr(span, target.part).get(target.key, "")
            return _decoded(text)
        case MetadataTarget():
            here = _decoded(span.metadata)
            for step in target.path:
                here = here.get(step) if isinstance(here, dict) else None  # type: ignore[assignment] # what JSON holds
            return _known(here)
        case ScoreTarget():
            return span.scores.get(target.name)


def _decoded(text: str) -> _Found:
    try:
        return _known(msgspec.json.decode(text)) if text else None
    except msgspec.DecodeError:
        return None


def _known(value: _Found) -> _Found:
    """As the store's engine sees it: a number that is too large for it is no value."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return None
    return value


def _compares(found: _Found, compare: Compare, value: Value) -> bool:
    if isinstance(value, bool) or isinstance(found, bool):
        return found is value
    if isinstance(value, str) or not isinstance(found, int | float):
        return isinstance(found, str) and found == value
    if not isinstance(compare.target, FieldTarget):
        found, value = float(found), float(value)
    if compare.operator is Operator.EQUAL:
        return found == value
    return _RELATIONS[compare.operator](found, value)


def _as_text(found: _Found) -> str:
    if found is None:
        return ""
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _exists(target: Target, span: Span) -> bool:
    found = _value(target, span)
    if isinstance(target, FieldTarget) and target.field.type in {FieldType.TEXT, FieldType.TAGS}:
        return bool(found)
    return found is not None
