"""What the API of traces gives out and takes, beside the rows themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keylease.platform.traces.model import Span

Name = Annotated[str, Meta(min_length=1, max_length=200)]


if TYPE_CHECKING:
    SpanOut = Span
else:
    SpanOut = msgspec.defstruct(
        "SpanOut",
        [
            (field.name, str if field.name == "xact_id" else field.type)
            for field in msgspec.structs.fields(Span)
        ],
        frozen=True,
        kw_only=True,
    )
    # A span as it goes out. Transactions are texts there: as numbers, JavaScript would round them.


def shown(span: Span) -> SpanOut:
    """A span as it goes out."""
    values = msgspec.structs.asdict(span)
    return SpanOut(**{**values, "xact_id": str(span.xact_id)})


class Annotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person or a program says about a span; merged into what was said before.

    A key of ``scores`` or ``metadata`` with ``null`` removes it; ``tags`` replaces all tags.
    """

    scores: Annotated[dict[Name, float | None], Meta(max_length=100)] | UnsetType = UNSET
    tags: Annotated[list[Name], Meta(max_length=100)] | UnsetType = UNSET
    metadata: Annotated[dict[Name, Any], Meta(max_length=200)] | UnsetType = UNSET
    expected: Any | UnsetType = UNSET
    """What would have been right, as JSON; ``null`` removes it."""
    comment: Annotated[str, Meta(min_length=1, max_length=20_000)] | UnsetType = UNSET
    """Words for other people; it stands in the history."""


class TraceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A trace in numbers; sums are over calls of models, not over what surrounds them.

    A call that its program and the gateway report is in them once.
    """

    spans: int
    errors: int
    started_at: int
    ended_at: int
    input_tokens: int | None
    """``null`` where no call says them, as ``output_tokens``."""
    output_tokens: int | None
    cost: int | None
    """Micro-USD; ``null`` where no cost is known."""
    cost_unknown: int
    """Spans of a model whose cost is in no sum, because nobody knows it."""


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The light rows of a trace, as a table: a trace of many thousand spans opens at once."""

    trace_id: str
    summary: TraceSummary
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    """Spans in the order in which they began."""
    next_offset: int | None = None
    """Give it as ``offset`` to go on; ``null`` at the end."""
    at: str
    """The transaction that was read; give it as ``at`` to read the same again."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One state of a span in its history."""

    xact_id: str
    changed_by: str
    """Empty for what was sent as a span."""
    change: Any
    """What was changed, as it was given; ``null`` for what was sent as a span."""
    span: SpanOut


class SpanLine(msgspec.Struct, frozen=True, kw_only=True):
    """A span in a list: without its texts, which are read with the span."""

    project_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    xact_id: str
    name: str
    kind: str
    source: str
    """By which door it came: `otlp`, `gateway` or `api`."""
    status: str
    error: str
    sort_at: int
    started_at: int
    duration: int
    service: str
    environment: str
    input_preview: str
    output_preview: str
    model: str
    provider: str
    input_tokens: int | None
    output_tokens: int | None
    cost: int | None
    """Micro-USD; ``null`` is unknown."""
    session_id: str
    user_id: str
    tags: list[str]
    scores: dict[str, float]


def line_of(span: Span) -> SpanLine:
    """A row as a line of a list."""
    values = {name: getattr(span, name) for name in SpanLine.__struct_fields__}
    return SpanLine(**{**values, "xact_id": str(span.xact_id)})


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Over the spans of a trace or a session."""

    spans: int
    errors: int
    first_started_at: int
    last_ended_at: int
    sum_input_tokens: int | None
    sum_output_tokens: int | None
    sum_cost: int | None
    unknown_costs: int


class TraceSums(Sums, frozen=True, kw_only=True):
    """Over all spans of a trace; tokens and cost of a call are in them once."""

    models: list[str]
    last_xact_id: str


class TraceLine(SpanLine, frozen=True, kw_only=True):
    """A trace in a list: its root, and sums over all of it."""

    trace: TraceSums | None


class SessionLine(Sums, frozen=True, kw_only=True):
    """A session in a list."""

    project_id: str
    session_id: str
    traces: int
    users: list[str]
    last_active_at: int


class SumLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A group, a step of a time series, or everything."""

    bucket: int | UnsetType = UNSET
    """When the step begins; in a time series only."""
    group_value: str | UnsetType = UNSET
    """Empty for spans without one, and for ``is_other``; with ``group_by`` only."""
    is_other: bool | UnsetType = UNSET
    """The row of all values that are not among the most frequent."""
    spans: int
    errors: int
    duration_p50: int | None
    """Microseconds, as those below; ``null`` where there are no spans."""
    duration_p90: int | None
    duration_p95: int | None
    duration_p99: int | None
    sum_input_tokens: int | None
    sum_output_tokens: int | None
    sum_cost: int | None
    """Micro-USD; ``null`` when no cost is known."""
    unknown_costs: int


class SumLines(msgspec.Struct, frozen=True, kw_only=True):
    """Sums, in the order of steps and values."""

    items: list[SumLine]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Every state of a span, the newest first."""

    items: list[Version]
