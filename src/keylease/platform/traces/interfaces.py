"""Between the rooms of the trace store: what ingest, store and readers want of one another.

    ingest -> write-ahead log -> writer -> understanding -> store
    routes -> service -> query -> store

A write is any of ``PutSpan``, ``MergeSpan`` and ``RemoveSpans``; all go through the write-ahead
log, so that there is one order, and one transaction id for each entry of the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from keylease.platform.traces.model import RawSpan, Source, Span


class PutSpan(msgspec.Struct, frozen=True, tag="put", kw_only=True):
    """A span that was sent. The same (trace, span) again is a later version of the row."""

    span: RawSpan
    source: Source = Source.OTLP


class MergeSpan(msgspec.Struct, frozen=True, tag="merge", kw_only=True):
    """A deep merge into a row: annotations, tags, metadata edits, updates.

    Objects are merged key by key, ``null`` in ``scores`` and ``metadata`` removes the key,
    everything else replaces. A row that does not exist (yet) is made by the merge.
    """

    trace_id: str
    span_id: str
    fields: dict[str, msgspec.Raw]
    """Of ``Span``: those that may be changed afterwards, as JSON."""
    by: str
    """Principal."""


class RemoveSpans(msgspec.Struct, frozen=True, tag="remove", kw_only=True):
    """Delete for good: one span, a trace, the traces of a user, or everything of the project.

    Exactly one is given. What was written later is not touched. It is a transaction of its own: of
    a row that one transaction writes before and after a removal, a replay could not tell which is
    there. Intake takes them apart; the store refuses them together.
    """

    trace_id: str = ""
    span_id: str = ""
    """With ``trace_id``: this span only."""
    user_id: str = ""
    """Every trace that has, or had, a span of this user."""
    everything: bool = False
    by: str


Write = PutSpan | MergeSpan | RemoveSpans


class WriteBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the write-ahead log: writes of one project, already masked."""

    organization_id: str
    project_id: str
    xact_id: int
    received_at: int
    writes: Sequence[Write]


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """A text that is too large for its row; it lies in ``payloads`` under its digest."""

    digest: str
    """SHA-256 of the text's UTF-8, 64 lower-case hex digits."""
    text: str


class Understood(msgspec.Struct, frozen=True):
    """The row of one raw span, and the large texts that the row only names."""

    span: Span
    payloads: tuple[Payload, ...] = ()
    """Every payload that ``span.input_payload``, ``span.output_payload`` or an attribute names."""


class Store(Protocol):
    """The tables. Methods block: call them from the writer's or a reader's thread."""

    def apply(self, batches: Sequence[WriteBatch], rows: Sequence[Sequence[Understood]]) -> None:
        """Write whole batches durably; what was applied before (by ``xact_id``) changes nothing.

        ``rows[i]`` are the rows, with their large payloads, for the ``PutSpan`` of ``batches[i]``,
        in order.
        Raises ``TraceStoreUnavailable``, or ``TraceBatchRefused`` when these rows can never be
        written.
        """

    def applied(self) -> int:
        """The last transaction that reads see; 0 for an empty store."""

    def select(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
    ) -> Rows:
        """Rows of a SELECT with ``{name:Type}`` parameters, under the reader's limits."""


class Rows(msgspec.Struct, frozen=True):
    """An answer of the engine."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]

    def dicts(self) -> list[dict[str, object]]:
        """Rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Intake(Protocol):
    """Where every write enters. Returns when the write-ahead log holds it (fsync)."""

    async def take(self, organization_id: str, project_id: str, writes: Sequence[Write]) -> int:
        """Mask, log and queue; the transaction id.

        Raises ``TraceQueueFull`` (429 with Retry-After) and ``StorageFull``.
        """

    async def settled(self, xact_id: int) -> None:
        """Return when reads see this transaction.

        Raises ``TraceStoreUnavailable`` after a bound.
        """


class Understanding(Protocol):
    """Makes rows of raw spans; pure, deterministic, never raises for what a client sent."""

    def __call__(
        self,
        span: RawSpan,
        *,
        organization_id: str,
        project_id: str,
        source: Source,
        xact_id: int,
        received_at: int,
    ) -> Understood:
        """Make the row of one raw span."""
        ...
