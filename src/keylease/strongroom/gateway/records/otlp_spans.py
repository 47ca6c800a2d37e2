"""Call records as OpenTelemetry spans (OTLP 1.x, protobuf). Imported only when an exporter runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from keylease.contracts import span_attributes as names
from keylease.contracts.call_records import CallRecord
from keylease.contracts.call_spans import (
    SCOPE,
    SPAN_BYTES,
    TRACE_BYTES,
    Value,
    failed,
    resource_values,
    span_identifier,
    span_name,
    span_values,
)

_NANOSECONDS: Final = 1000


def export_request(
    records: Iterable[CallRecord], *, group: str, organization_id: str
) -> ExportTraceServiceRequest:
    """One request with a span for each record."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(
        _attributes(
            {**resource_values(organization_id=organization_id), "service.namespace": group}
        )
    )
    scope = resource.scope_spans.add()
    scope.scope.name = SCOPE
    scope.scope.version = names.GENAI_REVISION
    scope.spans.extend(_span(record) for record in records)
    return request


def rejected_spans(body: bytes) -> tuple[int, str]:
    """How many spans a collector did not take, and why, from its answer."""
    answer = ExportTraceServiceResponse()
    answer.ParseFromString(body)
    return answer.partial_success.rejected_spans, answer.partial_success.error_message


def _span(record: CallRecord) -> Span:
    return Span(
        trace_id=span_identifier(record.trace_id, TRACE_BYTES),
        span_id=span_identifier(record.span_id, SPAN_BYTES),
        parent_span_id=span_identifier(record.parent_span_id, SPAN_BYTES)
        if record.parent_span_id
        else b"",
        name=span_name(record),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=record.started_at * _NANOSECONDS,
        end_time_unix_nano=(record.started_at + record.duration) * _NANOSECONDS,
        attributes=_attributes(span_values(record)),
        status=Status(
            code=Status.STATUS_CODE_ERROR if failed(record) else Status.STATUS_CODE_UNSET
        ),
    )


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any_value(value)) for name, value in values.items()]


def _any_value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=value)
