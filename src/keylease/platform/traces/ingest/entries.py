"""The form of an entry in the log: ``WriteBatch`` in MessagePack.

Stored until the store has it: append-only. The fields of a merge are JSON texts; MessagePack would
take ``msgspec.Raw`` for something of its own kind, so they are written as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from keylease.platform.traces.interfaces import (
    MergeSpan,
    PutSpan,
    RemoveSpans,
    Write,
    WriteBatch,
)

_EMPTY: Final = b"\x90"
"""An empty list in MessagePack, which ends an entry without writes."""


class _Merge(msgspec.Struct, frozen=True, tag="merge", kw_only=True):
    trace_id: str
    span_id: str
    fields: dict[str, bytes]
    by: str


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    organization_id: str
    project_id: str
    xact_id: int
    received_at: int
    writes: list[PutSpan | _Merge | RemoveSpans]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Batch).decode


def transactions(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """Writes, in their order, as they may share an entry: a removal has one of its own."""
    start = 0
    for place, write in enumerate(writes):
        if isinstance(write, RemoveSpans):
            if start < place:
                yield writes[start:place]
            yield writes[place : place + 1]
            start = place + 1
    if start < len(writes):
        yield writes[start:]


def encoded_writes(writes: Sequence[Write]) -> bytes:
    """A list in MessagePack."""
    if any(isinstance(write, MergeSpan) for write in writes):
        return _encode(
            [_logged(write) if isinstance(write, MergeSpan) else write for write in writes]
        )
    return _encode(writes)


def encoded_batch(
    *, organization_id: str, project_id: str, xact_id: int, received_at: int, writes: bytes
) -> bytes:
    """An entry whose writes are encoded already; they are its last member."""
    batch = WriteBatch(
        organization_id=organization_id,
        project_id=project_id,
        xact_id=xact_id,
        received_at=received_at,
        writes=(),
    )
    return _encode(batch).removesuffix(_EMPTY) + writes


def decoded_batch(entry: bytes) -> WriteBatch:
    """Read an entry. Raises ``msgspec.DecodeError`` and ``UnicodeDecodeError``."""
    batch = _decode(entry)
    return WriteBatch(
        organization_id=batch.organization_id,
        project_id=batch.project_id,
        xact_id=batch.xact_id,
        received_at=batch.received_at,
        writes=[_read(write) if isinstance(write, _Merge) else write for write in batch.writes],
    )


def _logged(write: MergeSpan) -> _Merge:
    fields = {name: bytes(value) for name, value in write.fields.items()}
    return _Merge(trace_id=write.trace_id, span_id=write.span_id, fields=fields, by=write.by)


def _read(write: _Merge) -> MergeSpan:
    fields = {name: msgspec.Raw(value) for name, value in write.fields.items()}
    return MergeSpan(trace_id=write.trace_id, span_id=write.span_id, fields=fields, by=write.by)
