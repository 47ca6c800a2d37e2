"""What a filter may name: fields of a span with their type, and ways into its open parts.

A field's name is its column's name in ``spans``; a few have a shorter one beside it. The tables
below are the reference in ``docs/reference/query.md``, which is compared with them by a test.
"""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import Final

import msgspec

from keylease.platform.traces.model import Source, SpanKind, Status


class FieldType(StrEnum):
    """What a field's values are, and so which comparisons it knows."""

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    DURATION = "duration"
    MONEY = "money"
    TIME = "time"
    BOOLEAN = "boolean"
    TAGS = "tags"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One name of the language."""

    name: str
    type: FieldType
    about: str
    short: str = ""
    """Another name for it."""
    unknown: bool = False
    """Whether the value can be unknown (a NULL)."""
    choices: tuple[str, ...] = ()


_CHOICE, _TEXT, _NUMBER = FieldType.CHOICE, FieldType.TEXT, FieldType.NUMBER
_DURATION, _MONEY, _TIME = FieldType.DURATION, FieldType.MONEY, FieldType.TIME


def _text(name: str, about: str, short: str = "") -> Field:
    return Field(name=name, type=_TEXT, about=about, short=short)


def _tokens(name: str, about: str) -> Field:
    return Field(name=name, type=_NUMBER, about=about, unknown=True)


FIELDS: Final[tuple[Field, ...]] = (
    _text("project_id", "identifier of the project", "project"),
    _text("trace_id", "32 hex digits", "trace"),
    _text("span_id", "16 hex digits", "span"),
    _text("parent_span_id", "empty for a root", "parent"),
    _text("row_id", "identifier that a program gave the row"),
    Field(name="root", type=FieldType.BOOLEAN, about="whether the span has no parent"),
    _text("name", "name of the span"),
    Field(
        name="kind", type=_CHOICE, about="what the span is about", choices=tuple(map(str, SpanKind))
    ),
    Field(name="status", type=_CHOICE, about="how it ended", choices=tuple(map(str, Status))),
    Field(
        name="source", type=_CHOICE, about="by which door it came", choices=tuple(map(str, Source))
    ),
    _text("status_message", "what the status says besides"),
    _text("error", "type and message of the error"),
    Field(name="started_at", type=_TIME, about="when it began"),
    Field(name="ended_at", type=_TIME, about="when it ended"),
    Field(name="created_at", type=_TIME, about="when its first version was taken"),
    Field(name="duration", type=_DURATION, about="from beginning to end"),
    Field(
        name="time_to_first_chunk",
        type=_DURATION,
        about="until the first part of a streamed answer",
        unknown=True,
    ),
    _text("service", "`service.name` of the resource"),
    _text("environment", "deployment environment"),
    _text("scope", "instrumentation that made the span"),
    _text("input", "JSON text; beyond 64 KB its beginning"),
    _text("output", "JSON text; beyond 64 KB its beginning"),
    _text("expected", "JSON text"),
    _text("model", "as the provider answered it, else as it was asked for"),
    _text("requested_model", "as it was asked for"),
    _text("provider", "API family"),
    _tokens("input_tokens", "cached ones included"),
    _tokens("output_tokens", "tokens of the answer"),
    _tokens("cache_read_tokens", "read from the provider's cache"),
    _tokens("cache_write_tokens", "written to the provider's cache"),
    _tokens("reasoning_tokens", "spent on reasoning"),
    Field(name="cost", type=_MONEY, about="price of the call; unknown is not zero", unknown=True),
    _text("price_version", "price table of the cost, or `reported`"),
    _text("session_id", "conversation or session", "session"),
    _text("user_id", "user of the application", "user"),
    _text("prompt_name", "name of the prompt", "prompt"),
    _text("prompt_version", "version of the prompt"),
    _text("tool_name", "name of the tool", "tool"),
    _text("agent_name", "name of the agent", "agent"),
    _text("changed_by", "principal of the last change; empty for what was sent"),
    Field(name="tags", type=FieldType.TAGS, about="labels"),
)

OPEN_PARTS: Final[dict[str, str]] = {
    "attributes": "every attribute as it was sent; the dots of a path are part of its name",
    "resource": "attributes of what sent the span; the dots of a path are part of its name",
    "metadata": "metadata of the row; each step of a path leads into an object",
    "scores": "scores by name; numbers",
}
WORD_SEARCHES: Final[dict[str, tuple[str, ...]]] = {
    "text": ("name", "input", "output", "error", "metadata"),
    "input": ("input",),
    "output": ("output",),
}
"""What ``NAME:"words"`` searches. The first are those of the store's text index."""

_BY_NAME: Final = {field.name: field for field in FIELDS} | {
    field.short: field for field in FIELDS if field.short
}


def field_named(name: str) -> Field | None:
    """The field of this name or short name."""
    return _BY_NAME.get(name)


def nearest_names(name: str) -> list[str]:
    """What somebody who wrote ``name`` may have meant, the nearest first."""
    known = [*_BY_NAME, *OPEN_PARTS, "text"]
    return difflib.get_close_matches(name[:64].lower(), known, n=2, cutoff=0.6)
