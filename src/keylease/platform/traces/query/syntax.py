"""A filter, parsed: what the parser makes, and what the compiler and the evaluator read.

Values are normalised by the parser to what is stored: times and durations are microseconds, money
is micro-USD.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from keylease.platform.traces.query.fields import Field

Value = bool | int | float | str


class Operator(StrEnum):
    """A comparison."""

    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class FieldTarget(msgspec.Struct, frozen=True, tag="field"):
    """A field of the span."""

    field: Field


class AttributeTarget(msgspec.Struct, frozen=True, tag="attribute"):
    """An attribute of the span or of its resource."""

    part: str
    """``attributes`` or ``resource``."""
    key: str


class MetadataTarget(msgspec.Struct, frozen=True, tag="metadata"):
    """A value within the metadata."""

    path: tuple[str, ...]


class ScoreTarget(msgspec.Struct, frozen=True, tag="score"):
    """A score."""

    name: str


Target = FieldTarget | AttributeTarget | MetadataTarget | ScoreTarget


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """The value is there, and stands in this relation; any one of ``values`` is enough."""

    target: Target
    operator: Operator
    values: tuple[Value, ...]


class Contains(msgspec.Struct, frozen=True, tag="contains"):
    """The text occurs, upper and lower case apart."""

    target: Target
    text: str


class Matches(msgspec.Struct, frozen=True, tag="matches"):
    """The expression (RE2 syntax) is found somewhere."""

    target: Target
    pattern: str


class Exists(msgspec.Struct, frozen=True, tag="exists"):
    """There is a value: not unknown, not null, for a text not empty."""

    target: Target


class HasTag(msgspec.Struct, frozen=True, tag="has"):
    """One of the tags is this one."""

    tag: str


class Words(msgspec.Struct, frozen=True, tag="words"):
    """All words occur in the columns taken together, whatever their order and case."""

    columns: tuple[str, ...]
    words: tuple[str, ...]
    """As ``words.split_words`` makes them; never empty."""


class Not(msgspec.Struct, frozen=True, tag="not"):
    """Exactly the spans that the part does not select."""

    part: Expression


class All(msgspec.Struct, frozen=True, tag="all"):
    """Every part; without parts every span."""

    parts: tuple[Expression, ...] = ()


class Any(msgspec.Struct, frozen=True, tag="any"):
    """At least one part."""

    parts: tuple[Expression, ...]


Expression = Compare | Contains | Matches | Exists | HasTag | Words | Not | All | Any
