"""Trace stores for tests, and rows to put into them.

One engine lives in a process at a time: a store is opened for a module and closed before the next
one is opened. Never fork while it is open.

    @pytest.fixture(scope="module")
    def store(tmp_path_factory): yield from opened_store(tmp_path_factory.mktemp("traces"))
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from keylease.platform.traces.interfaces import (
    MergeSpan,
    Payload,
    PutSpan,
    RemoveSpans,
    Understood,
    Write,
    WriteBatch,
)
from keylease.platform.traces.model import RawSpan, Span, SpanKind, Status
from keylease.platform.traces.store.engine import MEBIBYTE, Limits
from keylease.platform.traces.store.store import TraceStore, open_embedded

NOW: Final = 1_790_000_000_000_000
FIRST: Final = NOW * 1000
SMALL: Final = Limits(memory=300 * MEBIBYTE, query_memory=200 * MEBIBYTE, readers=2)
ORGANIZATION: Final = "01900000-0000-7000-8000-000000000001"
_numbers = itertools.count(1)


def opened_store(directory: Path, *, limits: Limits = SMALL) -> Iterator[TraceStore]:
    """An empty store, closed at the end."""
    store = open_embedded(directory / "store", limits=limits)
    yield store
    store.close()


def new_id(digits: int = 32) -> str:
    """An identifier that no other row of this process has."""
    return f"{next(_numbers):0{digits}x}"


def a_span(**fields: object) -> Span:
    """A row; what is not given is plain."""
    plain: dict[str, Any] = {
        "organization_id": ORGANIZATION,
        "project_id": "project",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "xact_id": FIRST,
        "created_at": NOW,
        "name": "chat",
        "kind": SpanKind.LLM,
        "status": Status.OK,
        "started_at": NOW,
    } | fields
    plain.setdefault("ended_at", plain["started_at"] + 1_000)
    plain.setdefault("sort_at", plain["started_at"])
    plain.setdefault("duration", plain["ended_at"] - plain["started_at"])
    return Span(**plain)


class Writes:
    """One batch in the making: ``store.apply(*applied(Writes(1).put(span)))``."""

    def __init__(self, xact_id: int, *, project_id: str = "project") -> None:
        self.xact_id = xact_id
        self.project_id = project_id
        self.writes: list[Write] = []
        self.rows: list[Understood] = []

    def put(self, span: Span, *payloads: Payload) -> Writes:
        row = msgspec.structs.replace(span, xact_id=self.xact_id, project_id=self.project_id)
        self.writes.append(PutSpan(span=_raw(row)))
        self.rows.append(Understood(row, payloads))
        return self

    def merge(self, trace_id: str, span_id: str, **fields: object) -> Writes:
        raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
        self.writes.append(MergeSpan(trace_id=trace_id, span_id=span_id, fields=raw, by="user:1"))
        return self

    def remove(
        self, *, trace_id: str = "", span_id: str = "", user_id: str = "", everything: bool = False
    ) -> Writes:
        self.writes.append(
            RemoveSpans(
                by="user:1",
                trace_id=trace_id,
                span_id=span_id,
                user_id=user_id,
                everything=everything,
            )
        )
        return self

    def batch(self) -> WriteBatch:
        return WriteBatch(
            organization_id=ORGANIZATION,
            project_id=self.project_id,
            xact_id=self.xact_id,
            received_at=self.xact_id // 1000,
            writes=self.writes,
        )


def applied(*writes: Writes) -> tuple[list[WriteBatch], list[list[Understood]]]:
    """What ``Store.apply`` takes."""
    return [each.batch() for each in writes], [each.rows for each in writes]


def _raw(span: Span) -> RawSpan:
    return RawSpan(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        started_at=span.started_at,
        ended_at=span.ended_at,
        status=span.status,
        status_message=span.status_message,
        otel_kind=0,
        attributes={},
    )
