"""Writes are masked and encoded for the log: what costs processor time, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from keylease.contracts.findings import Fingerprint
from keylease.platform.traces.ingest.entries import transactions
from keylease.platform.traces.ingest.masking import MaskedSecret, Masker
from keylease.platform.traces.ingest.personal_data import PersonalDataMasker
from keylease.platform.traces.ingest.write_log import encoded
from keylease.platform.traces.interfaces import MergeSpan, PutSpan, Write
from keylease.platform.traces.model import RawSpan, Source, Status

_json: Final = msgspec.json.Encoder().encode


class Prepared(msgspec.Struct, frozen=True):
    """What goes into the log."""

    parts: list[bytes]
    """MessagePack lists, each for one entry."""
    rejected: int
    """Writes that are too large for the log by themselves."""
    found: list[MaskedSecret]


def prepared_spans(
    masker: Masker,
    spans: list[RawSpan],
    source: Source,
    fingerprints: Callable[[bytes], tuple[Fingerprint, ...]],
    personal_data: PersonalDataMasker | None,
) -> Prepared:
    """Spans as they were sent."""
    masked = masker.masked(spans, fingerprints, personal_data)
    writes = [PutSpan(span=span, source=source) for span in masked.spans]
    parts, rejected = encoded(writes)
    return Prepared(parts, rejected, masked.found)


def prepared(
    masker: Masker,
    writes: list[Write],
    fingerprints: Callable[[bytes], tuple[Fingerprint, ...]],
    personal_data: PersonalDataMasker | None,
) -> Prepared:
    """Writes of any kind. What a merge brings is masked like the attributes of a span."""
    given = [_as_span(write) for write in writes if not _removes(write)]
    masked = masker.masked(given, fingerprints, personal_data)
    clean = iter(masked.spans)
    masks = [write if _removes(write) else _with(write, next(clean)) for write in writes]
    parts: list[bytes] = []
    rejected = 0
    for some in transactions(masks):
        entries, too_large = encoded(some)
        parts += entries
        rejected += too_large
    return Prepared(parts, rejected, masked.found)


def _removes(write: Write) -> bool:
    return not isinstance(write, PutSpan | MergeSpan)


def _as_span(write: Write) -> RawSpan:
    if isinstance(write, PutSpan):
        return write.span
    fields = write.fields if isinstance(write, MergeSpan) else {}
    return RawSpan(
        trace_id="",
        span_id="",
        parent_span_id="",
        name="",
        started_at=0,
        ended_at=0,
        status=Status.UNSET,
        status_message="",
        otel_kind=0,
        attributes={name: msgspec.json.decode(value) for name, value in fields.items()},
    )


def _with(write: Write, span: RawSpan) -> Write:
    if isinstance(write, MergeSpan):
        fields = {name: msgspec.Raw(_json(value)) for name, value in span.attributes.items()}
        return msgspec.structs.replace(write, fields=fields)
    return msgspec.structs.replace(write, span=span) if isinstance(write, PutSpan) else write
