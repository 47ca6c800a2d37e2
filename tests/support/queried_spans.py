"""A trace store with spans of two organizations, for tests that ask it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from keylease.platform.traces.interfaces import PutSpan, Understood, WriteBatch
from keylease.platform.traces.model import RawSpan, Span, SpanKind, Status
from keylease.platform.traces.query.scope import Scope
from keylease.platform.traces.query.statement import Statement
from keylease.platform.traces.store.store import TraceStore, open_embedded

OURS: Final = "018f0000-0000-7000-8000-00000000000a"
FOREIGN: Final = "018f0000-0000-7000-8000-00000000000b"
PROJECT: Final = "018f0000-0000-7000-8000-0000000000a1"
OTHER_PROJECT: Final = "018f0000-0000-7000-8000-0000000000a2"
FOREIGN_MARK: Final = "foreign-marzipan"
"""In every text of the rows that a query within the scope must never show."""
FOREIGN_TRACE: Final = r"\b0{30}[0-5]f\b"
"""As a pattern: the identifiers of their traces."""
START: Final = 1_790_000_000_000_000
SCOPE: Final = Scope(organization_id=OURS, project_ids=(PROJECT,))


def stored_span(number: int, **changes: object) -> Span:
    """The ``number``th span of a plain series: four in a trace, one in a second."""
    at = START + number * 1_000_000
    fields: dict[str, object] = {
        "organization_id": OURS,
        "project_id": PROJECT,
        "trace_id": f"{number // 4:032x}",
        "span_id": f"{number + 1:016x}",
        "parent_span_id": f"{number - number % 4 + 1:016x}" if number % 4 else "",
        "xact_id": number + 1,
        "created_at": at,
        "sort_at": at,
        "name": f"step {number % 3}",
        "kind": SpanKind.LLM if number % 2 else SpanKind.TASK,
        "status": Status.OK if number % 5 else Status.ERROR,
        "started_at": at,
        "ended_at": at + number * 1_000,
        "duration": number * 1_000,
        "model": "gpt-5-mini" if number % 2 else "",
        "cost": number * 10 if number % 4 == 1 else None,
        "input_tokens": number if number % 2 else None,
        "output_tokens": number * 2 if number % 2 else None,
        "input": f'"Question {number} about Ducks"',
        "output": '"A quick-brown answer"',
        "session_id": f"session-{number // 8}",
        "user_id": f"user-{number % 2}",
        "attributes": {"customer.id": f'"c{number % 7}"', "retries": str(number % 3)},
        "tags": ["even"] if number % 2 == 0 else [],
        "scores": {"quality": number / 100},
        "metadata": f'{{"a":{{"b":{number}}}}}',
    }
    return msgspec.convert({**fields, **changes}, Span)


def foreign_span(number: int, **changes: object) -> Span:
    """A span that must never be seen; of another organization, or of another project."""
    texts = dict.fromkeys(
        ("name", "model", "input", "output", "session_id", "user_id", "service", "error"),
        FOREIGN_MARK,
    )
    more = {"attributes": {FOREIGN_MARK: f'"{FOREIGN_MARK}"'}, "tags": [FOREIGN_MARK]}
    base = stored_span(number, trace_id=f"{number:031x}f", organization_id=FOREIGN)
    fields = {name: getattr(base, name) for name in Span.__struct_fields__}
    return msgspec.convert(
        {**fields, **texts, **more, "metadata": f'"{FOREIGN_MARK}"', **changes}, Span
    )


def put(store: TraceStore, spans: Sequence[Span], *, xact_id: int) -> None:
    """Write spans as one batch for each of their projects, in one transaction each."""
    owners = sorted({(span.organization_id, span.project_id) for span in spans})
    for step, owner in enumerate(owners):
        mine = [
            msgspec.structs.replace(span, xact_id=xact_id + step)
            for span in spans
            if (span.organization_id, span.project_id) == owner
        ]
        batch = WriteBatch(
            organization_id=owner[0],
            project_id=owner[1],
            xact_id=xact_id + step,
            received_at=START,
            writes=[PutSpan(span=_raw(span)) for span in mine],
        )
        store.apply([batch], [[Understood(span) for span in mine]])


def _raw(span: Span) -> RawSpan:
    return RawSpan(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        started_at=span.started_at,
        ended_at=span.ended_at,
        status=span.status,
        status_message="",
        otel_kind=1,
        attributes={},
    )


@contextmanager
def opened_store(directory: Path) -> Iterator[TraceStore]:
    """A store of its own, closed at the end: a process has one at a time."""
    store = open_embedded(directory / "traces")
    try:
        yield store
    finally:
        store.close()


def rows_of(store: TraceStore, statement: Statement) -> list[dict[str, object]]:
    """The rows of a statement."""
    return store.select(statement.sql, statement.parameters).dicts()
