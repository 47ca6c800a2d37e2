"""Writes blocks of transactions, so that writing them again changes nothing.

1. Look up in ``span_keys`` what there is already of the traces of the block.
2. Read the rows that are written again, and only those.
3. Go through the writes in order; each gives a row its next state (``states``).
4. Insert, in this order: large texts, superseded versions, rows, keys.

A crash between two inserts is mended by the replay of the log: a state is recognised by its
transaction, a superseded version by the transaction that ended it, and rows of one key and one
transaction are the same row, of which the engine keeps one. Removals end a block, because they work
on what is in the tables. What a removal took is not written again by a replay of what came before
it: ``removals`` is asked, when there is one that is later than a write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from keylease.errors import TraceBatchRefused
from keylease.platform.traces.interfaces import (
    MergeSpan,
    Payload,
    PutSpan,
    RemoveSpans,
    Understood,
    Write,
    WriteBatch,
)
from keylease.platform.traces.model import Span
from keylease.platform.traces.store import states
from keylease.platform.traces.store.columns import (
    KEY_COLUMNS,
    PAYLOAD_COLUMNS,
    SPAN_COLUMNS,
    VERSION_COLUMNS,
    columns_of,
    kind_of,
    span_of,
)
from keylease.platform.traces.store.engine import Engine
from keylease.platform.traces.store.removal import Removal
from keylease.platform.traces.store.schema import Layout

_T = TypeVar("_T")
RowKey = tuple[str, str, str, str]
"""Organization, project, trace, span."""
_MINUTE: Final = 60_000_000
"""Microseconds."""
_LOOKED_UP: Final = 3_000
"""Traces, or rows, that one statement asks for: 35 bytes each, and a server takes 128 KiB for one
parameter (``http_max_field_value_size``)."""
_WIDEST: Final = 2_000
"""Rows that one answer of whole rows may have."""
_KNOWN: Final = """
    SELECT trace_id, span_id, sort_at, created_at, xact_id, hex(digest)
    FROM @span_keys FINAL
    PREWHERE organization_id = {organization_id:String} AND project_id = {project_id:String}
      AND trace_hash IN (SELECT cityHash64(arrayJoin({traces:Array(String)})))
      AND trace_id IN {traces:Array(String)}
"""
_CURRENT: Final = """
    SELECT * FROM @spans FINAL
    PREWHERE organization_id IN {organizations:Array(String)}
      AND project_id IN {projects:Array(String)}
      AND toStartOfMinute(sort_at) IN {minutes:Array(DateTime('UTC'))}
      AND trace_hash IN (SELECT cityHash64(arrayJoin({traces:Array(String)})))
      AND trace_id IN {traces:Array(String)} AND span_id IN {spans:Array(String)}
"""
_DIGEST_KIND: Final = {"digest": kind_of("digest_bytes")}


class _Known(msgspec.Struct):
    """What ``span_keys`` says of a row."""

    sort_at: int
    created_at: int
    xact_id: int
    digest: bytes


class _Row(msgspec.Struct):
    """A row in the course of a block."""

    state: Span
    digest: bytes
    is_changed: bool = False


class Writer:
    """The one who writes. Not for several threads."""

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        *,
        removal: Removal,
        whole_text: Callable[[Span, str], str],
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._removal = removal
        self._last_removal = removal.last()
        self._whole_text = whole_text

    def apply(self, batches: Sequence[WriteBatch], rows: Sequence[Sequence[Understood]]) -> None:
        """As ``interfaces.Store.apply``."""
        for part in _parts(batches, rows):
            if isinstance(part, _Removal):
                self._last_removal = max(self._last_removal, part.batch.xact_id)
                self._removal.remove(part.batch, part.write)
            elif kept := self._without_removed(part):
                self._write(kept)

    def _write(self, part: list[_Change]) -> None:
        known = self._known(part)
        block = _Block(known, self._current(part, known), self._whole_text)
        for change in part:
            block.take(change)
        table = self._layout.table
        if block.payloads:
            texts = [block.payloads[name] for name in sorted(block.payloads)]
            self._engine.insert(table("payloads"), columns_of(PAYLOAD_COLUMNS, texts))
        if block.superseded:
            self._engine.insert(
                table("span_versions"), columns_of(VERSION_COLUMNS, block.superseded)
            )
        changed = [row for row in block.rows.values() if row.is_changed]
        if changed:
            whole = [msgspec.structs.astuple(row.state) for row in changed]
            self._engine.insert(table("spans"), columns_of(SPAN_COLUMNS, whole))
            keys = [_key_row(row) for row in changed]
            self._engine.insert(
                table("span_keys"), columns_of(KEY_COLUMNS, keys, kinds=_DIGEST_KIND)
            )

    def _without_removed(self, part: list[_Change]) -> list[_Change]:
        """What a removal that came later, and is done, has not taken: the rest is a replay.

        Written again, a part of a trace could stay: a replay begins where the log's mark is, and
        what made the removal find the trace may stand before it.
        """
        early = [change for change in part if change.batch.xact_id < self._last_removal]
        if not early:
            return part
        removed = self._removal.after(
            min(change.batch.xact_id for change in early),
            {change.key[:2] for change in early},
            sorted({change.key[2] for change in early}),
        )
        return [
            change for change in part if not removed.has(change.key, xact_id=change.batch.xact_id)
        ]

    def _known(self, part: list[_Change]) -> dict[RowKey, _Known]:
        """Every row that there is of the traces of a block."""
        wanted: dict[tuple[str, str], set[str]] = {}
        for change in part:
            batch = change.batch
            owner = (batch.organization_id, batch.project_id)
            wanted.setdefault(owner, set()).add(change.key[2])
        found: dict[RowKey, _Known] = {}
        for (organization_id, project_id), traces in wanted.items():
            for some in _slices(sorted(traces), _LOOKED_UP):
                answer = self._engine.read(
                    self._layout.sql(_KNOWN),
                    {
                        "organization_id": organization_id,
                        "project_id": project_id,
                        "traces": some,
                    },
                    settings={"max_result_rows": 0, "max_query_size": 4_000_000},
                )
                for trace, span, sort_at, created_at, xact_id, digest in answer.rows:
                    key = (organization_id, project_id, str(trace), str(span))
                    found[key] = _Known(
                        sort_at=int(str(sort_at)),
                        created_at=int(str(created_at)),
                        xact_id=int(str(xact_id)),
                        digest=bytes.fromhex(str(digest)),
                    )
        return found

    def _current(self, part: list[_Change], known: dict[RowKey, _Known]) -> dict[RowKey, Span]:
        """The rows that may change: those that are there and are not just sent again."""
        wanted = {
            change.key
            for change in part
            if (there := known.get(change.key)) is not None
            and change.batch.xact_id > there.xact_id
            and (change.row is None or states.digest_of(change.row.span) != there.digest)
        }
        found: dict[RowKey, Span] = {}
        for some in _slices(sorted(wanted), _WIDEST):
            answer = self._engine.read(
                self._layout.sql(_CURRENT),
                {
                    "organizations": sorted({key[0] for key in some}),
                    "projects": sorted({key[1] for key in some}),
                    "minutes": sorted({known[key].sort_at // _MINUTE * 60 for key in some}),
                    "traces": sorted({key[2] for key in some}),
                    "spans": sorted({key[3] for key in some}),
                },
                settings={"max_result_rows": 0, "max_query_size": 4_000_000},
            )
            for row in answer.dicts():
                span = span_of(row)
                found[_key_of(span)] = span
        return found


class _Change(msgspec.Struct, frozen=True):
    """A put or a merge of a block."""

    key: RowKey
    batch: WriteBatch
    row: Understood | None = None
    merge: MergeSpan | None = None


class _Removal(msgspec.Struct, frozen=True):
    batch: WriteBatch
    write: RemoveSpans


class _Block:
    """The states of rows while the writes of a block are gone through."""

    def __init__(
        self,
        known: dict[RowKey, _Known],
        current: dict[RowKey, Span],
        whole_text: Callable[[Span, str], str],
    ) -> None:
        self._known = known
        self._current = current
        self._whole_text = whole_text
        self.rows: dict[RowKey, _Row] = {}
        self.superseded: list[tuple[object, ...]] = []
        self.payloads: dict[tuple[RowKey, str], tuple[object, ...]] = {}

    def take(self, change: _Change) -> None:
        """Give the row of ``change`` its next state."""
        there = self._known.get(change.key)
        if there is not None and there.xact_id >= change.batch.xact_id:
            return  # a replay
        row = self._row(change.key)
        if change.row is not None:
            self._put(change, change.row, row)
        elif change.merge is not None:
            self._merge(change, change.merge, row)

    def _put(self, change: _Change, understood: Understood, row: _Row | None) -> None:
        span = understood.span
        digest = states.digest_of(span)
        there = self._known.get(change.key)
        if row is None and there is not None and there.digest == digest:
            return
        if row is not None:
            if self._is_applied(change):
                if row.state.ended_at == span.ended_at:
                    row.digest = digest
                row.is_changed = True
                return
            if row.digest == digest:
                return
            state = states.put(row.state, span, was_sent=row.digest != states.NEVER_SENT)
            if states.digest_of(state) == states.digest_of(row.state):
                return
            if row.state.ended_at > span.ended_at and row.digest != states.NEVER_SENT:
                digest = row.digest
        else:
            state = span
        self._advance(change, row, state, digest)
        self._keep(change, understood.payloads)

    def _merge(self, change: _Change, write: MergeSpan, row: _Row | None) -> None:
        batch = change.batch
        if row is not None and self._is_applied(change):
            row.is_changed = True
            return
        before = row.state if row is not None else None
        if before is None:
            before = states.made_by_merge(
                write,
                organization_id=batch.organization_id,
                project_id=batch.project_id,
                xact_id=batch.xact_id,
                at=batch.received_at,
            )
        whole: dict[str, str] = {
            name: self._whole(before, name)
            for name in ("input", "output")
            if name in write.fields and getattr(before, f"{name}_payload")
        }
        state, payloads = states.merge(before, write, xact_id=batch.xact_id, whole=whole)
        self._advance(change, row, state, row.digest if row else states.NEVER_SENT)
        self._keep(change, payloads)

    def _advance(self, change: _Change, row: _Row | None, state: Span, digest: bytes) -> None:
        if row is None:
            self.rows[change.key] = _Row(state, digest, is_changed=True)
            return
        if row.state.xact_id < state.xact_id:
            self.superseded.append((*msgspec.structs.astuple(row.state), state.xact_id))
        row.state, row.digest, row.is_changed = state, digest, True

    def _is_applied(self, change: _Change) -> bool:
        """Whether the store had this transaction before the block came.

        Its key says that it had not, or nobody would have asked: a crash came between the two, and
        both are written again.
        """
        there = self._current.get(change.key)
        return there is not None and there.xact_id >= change.batch.xact_id

    def _row(self, key: RowKey) -> _Row | None:
        row = self.rows.get(key)
        if row is None and (state := self._current.get(key)) is not None:
            row = self.rows[key] = _Row(state, self._known[key].digest)
        return row

    def _keep(self, change: _Change, payloads: Iterable[Payload]) -> None:
        organization_id, project_id, trace_id, span_id = change.key
        for payload in payloads:
            self.payloads[change.key, payload.digest] = (
                organization_id,
                project_id,
                trace_id,
                payload.digest,
                span_id,
                change.batch.xact_id,
                self.rows[change.key].state.sort_at,
                payload.text,
            )

    def _whole(self, span: Span, name: str) -> str:
        digest = str(getattr(span, f"{name}_payload"))
        waiting = self.payloads.get((_key_of(span), digest))
        return str(waiting[-1]) if waiting else self._whole_text(span, digest)


def _parts(
    batches: Sequence[WriteBatch], rows: Sequence[Sequence[Understood]]
) -> Iterator[list[_Change] | _Removal]:
    """Stretches of puts and merges, and the removals between them."""
    part: list[_Change] = []
    for batch, understood in zip(batches, rows, strict=True):
        waiting = iter(understood)
        if len(batch.writes) > 1 and any(isinstance(one, RemoveSpans) for one in batch.writes):
            raise TraceBatchRefused("A removal is a transaction of its own.")
        for write in batch.writes:
            if isinstance(write, RemoveSpans):
                if part:
                    yield part
                    part = []
                yield _Removal(batch, write)
            else:
                part.append(_change(batch, write, waiting))
    if part:
        yield part


def _change(batch: WriteBatch, write: Write, waiting: Iterator[Understood]) -> _Change:
    owner = (batch.organization_id, batch.project_id)
    if isinstance(write, MergeSpan):
        return _Change((*owner, write.trace_id, write.span_id), batch, merge=write)
    row = next(waiting, None)
    if row is None or not isinstance(write, PutSpan) or row.span.xact_id != batch.xact_id:
        raise TraceBatchRefused("A batch does not have one row for each of its spans.")
    return _Change(_key_of(row.span), batch, row=row)


def _key_of(span: Span) -> RowKey:
    return (span.organization_id, span.project_id, span.trace_id, span.span_id)


def _key_row(row: _Row) -> tuple[object, ...]:
    state = row.state
    return (*_key_of(state), state.sort_at, state.created_at, state.xact_id, row.digest)


def _slices(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
