"""Spans, a store that keeps them in memory, and rows without dialects, for tests of ingest."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keylease.errors import KeyleaseError, TraceBatchRefused
from keylease.platform.traces.interfaces import PutSpan, Rows, Understood, WriteBatch
from keylease.platform.traces.model import RawSpan, Source, Span, SpanKind, Status

NOW = 1_780_000_000_000_000


def raw_span(number: int = 1, **changes: object) -> RawSpan:
    fields: dict[str, object] = {
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "parent_span_id": "",
        "name": "chat",
        "started_at": NOW,
        "ended_at": NOW + 1000,
        "status": Status.OK,
        "status_message": "",
        "otel_kind": 3,
        "attributes": {"number": number},
    }
    return RawSpan(**{**fields, **changes})  # type: ignore[arg-type]  # a test's own members


def put(number: int = 1, **changes: object) -> PutSpan:
    return PutSpan(span=raw_span(number, **changes))


def export(*names: str, project: str = "") -> ExportTraceServiceRequest:
    """An OTLP request with one span for each name."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    if project:
        attribute = resource_spans.resource.attributes.add(key="keylease.project")
        attribute.value.string_value = project
    scope_spans = resource_spans.scope_spans.add()
    for number, name in enumerate(names, start=1):
        scope_spans.spans.add(
            name=name,
            trace_id=number.to_bytes(16),
            span_id=number.to_bytes(8),
            start_time_unix_nano=NOW * 1000,
            end_time_unix_nano=NOW * 1000 + 5_000,
        )
    return request


class MemoryStore:
    """A store that remembers; what it is told to refuse or to fail with comes first."""

    def __init__(self) -> None:
        self.batches: dict[int, WriteBatch] = {}
        self.rows: dict[tuple[str, str, str], Span] = {}
        self.trouble: Exception | None = None
        self.refuses: set[str] = set()
        """Names of spans."""
        self.calls = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def apply(self, batches: Sequence[WriteBatch], spans: Sequence[Sequence[Understood]]) -> None:
        self.may_go_on.wait(30)
        self.calls += 1
        if self.trouble is not None:
            raise self.trouble
        if any(row.span.name in self.refuses for rows in spans for row in rows):
            raise TraceBatchRefused("It is not liked here.")
        for batch, rows in zip(batches, spans, strict=True):
            assert len(rows) == sum(isinstance(write, PutSpan) for write in batch.writes)
            self.batches[batch.xact_id] = batch
            for row in rows:
                span = row.span
                self.rows[span.project_id, span.trace_id, span.span_id] = span

    def applied(self) -> int:
        return max(self.batches, default=0)

    def select(self, *_: object, **__: object) -> Rows:
        raise KeyleaseError("It has no SQL.")

    @property
    def names(self) -> list[str]:
        return sorted(span.name for span in self.rows.values())


def plainly(
    span: RawSpan,
    *,
    organization_id: str,
    project_id: str,
    source: Source,
    xact_id: int,
    received_at: int,
) -> Understood:
    """A row that says what the span says."""
    if span.name == "poison":
        raise ValueError("nobody understands this")
    return Understood(
        span=Span(
            organization_id=organization_id,
            project_id=project_id,
            trace_id=span.trace_id,
            span_id=span.span_id,
            xact_id=xact_id,
            created_at=received_at,
            sort_at=span.started_at,
            source=source,
            name=span.name,
            kind=SpanKind.OTHER,
            status=span.status,
            started_at=span.started_at,
            ended_at=span.ended_at,
            duration=span.ended_at - span.started_at,
        )
    )
