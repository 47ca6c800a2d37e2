"""Rows of spans, for tests of what spans mean."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.support.trace_kit import raw_span

from keylease.platform.traces.ingest.decoding import Encoding, decode
from keylease.platform.traces.ingest.limits import Limits
from keylease.platform.traces.interfaces import Understood
from keylease.platform.traces.model import RawSpan, Source, Span
from keylease.platform.traces.understanding.understander import Understander

RECEIVED = 1_780_000_001_000_000
XACT = 1_780_000_001_000_000_000


def understand(span: RawSpan, understander: Understander | None = None) -> Understood:
    return (understander or Understander())(
        span,
        organization_id="organization",
        project_id="project",
        source=Source.OTLP,
        xact_id=XACT,
        received_at=RECEIVED,
    )


def row_of(attributes: dict[str, Any], **changes: Any) -> Span:  # noqa: ANN401 - members of RawSpan
    """The row of a span with these attributes."""
    return understand(raw_span(attributes=attributes, **changes)).span


def rows_of(body: bytes) -> list[Span]:
    """The rows of an OTLP request, by way of ingest's decoder."""
    understander = Understander()
    decoded = decode(body, Encoding.PROTOBUF, Limits())
    assert not decoded.rejected
    return [understand(span, understander).span for group in decoded.groups for span in group.spans]


def said(text: str) -> Any:  # noqa: ANN401 - JSON
    """What an input or output says."""
    return msgspec.json.decode(text)
