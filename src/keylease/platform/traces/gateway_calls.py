"""Call records of gateways as spans, so that a call and what called it stand in one trace."""

from __future__ import annotations

from keylease.contracts import call_spans
from keylease.contracts.call_records import CallRecord
from keylease.platform.traces.interfaces import PutSpan
from keylease.platform.traces.model import Origin, RawSpan, Source, Status

_CLIENT = 3
"""OTLP's kind of a span that calls something outside."""


def span_of(record: CallRecord, *, gateway_id: str) -> PutSpan:
    """The span of one call, which the gateway with that identifier made."""
    return PutSpan(
        source=Source.GATEWAY,
        span=RawSpan(
            trace_id=call_spans.span_identifier(record.trace_id, call_spans.TRACE_BYTES).hex(),
            span_id=call_spans.span_identifier(record.span_id, call_spans.SPAN_BYTES).hex(),
            parent_span_id=(
                call_spans.span_identifier(record.parent_span_id, call_spans.SPAN_BYTES).hex()
                if record.parent_span_id
                else ""
            ),
            name=call_spans.span_name(record),
            started_at=record.started_at,
            ended_at=record.started_at + record.duration,
            status=Status.ERROR if call_spans.failed(record) else Status.UNSET,
            status_message=record.error,
            otel_kind=_CLIENT,
            attributes=dict(call_spans.span_values(record)),
            origin=Origin(
                resource={
                    **call_spans.resource_values(organization_id=record.organization_id),
                    "service.instance.id": gateway_id,
                },
                scope_name=call_spans.SCOPE,
            ),
        ),
    )
