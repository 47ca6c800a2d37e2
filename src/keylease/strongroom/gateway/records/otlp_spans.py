"""Call records as OpenTelemetry spans (OTLP 1.x, protobuf). Imported only when an exporter runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import keylease
from keylease.contracts import span_attributes as names
from keylease.contracts.call_records import CallRecord

_NANOSECONDS: Final = 1000
_FAILURE: Final = 400
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8

Value = str | int | bool


def export_request(
    records: Iterable[CallRecord], *, group: str, organization_id: str
) -> ExportTraceServiceRequest:
    """One request with a span for each record."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(
        _attributes(
            {
                "service.name": "keylease-gateway",
                "service.version": keylease.__version__,
                "service.namespace": group,
                names.ORGANIZATION: organization_id,
            }
        )
    )
    scope = resource.scope_spans.add()
    scope.scope.name = "keylease.gateway"
    scope.scope.version = names.GENAI_REVISION
    scope.spans.extend(_span(record) for record in records)
    return request


def rejected_spans(body: bytes) -> tuple[int, str]:
    """How many spans a collector did not take, and why, from its answer."""
    answer = ExportTraceServiceResponse()
    answer.ParseFromString(body)
    return answer.partial_success.rejected_spans, answer.partial_success.error_message


def _span(record: CallRecord) -> Span:
    failed = record.status >= _FAILURE or bool(record.error)
    model = record.requested_model
    return Span(
        trace_id=_identifier(record.trace_id, _TRACE_BYTES),
        span_id=_identifier(record.span_id, _SPAN_BYTES),
        parent_span_id=_identifier(record.parent_span_id, _SPAN_BYTES)
        if record.parent_span_id
        else b"",
        name=f"{record.operation} {model}" if model else record.operation,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=record.started_at * _NANOSECONDS,
        end_time_unix_nano=(record.started_at + record.duration) * _NANOSECONDS,
        attributes=_attributes(_values(record)),
        status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
    )


def _identifier(text: str, size: int) -> bytes:
    """The bytes of an identifier; a stable substitute when it is malformed, never a failure."""
    try:
        identifier = bytes.fromhex(text)
    except ValueError:
        identifier = b""
    return identifier if len(identifier) == size else hashlib.sha256(text.encode()).digest()[:size]


def _values(record: CallRecord) -> dict[str, Value | None]:
    """Every attribute; ``None`` and empty text are left out."""
    usage = record.usage
    error = record.error or (str(record.status) if record.status >= _FAILURE else "")
    return {
        names.OPERATION_NAME: record.operation,
        names.PROVIDER_NAME: record.provider,
        names.REQUEST_MODEL: record.requested_model,
        names.RESPONSE_MODEL: record.response_model,
        names.INPUT_TOKENS: usage.input_tokens if usage else None,
        names.OUTPUT_TOKENS: usage.output_tokens if usage else None,
        names.CACHE_READ_TOKENS: usage.cache_read_tokens if usage else None,
        names.CACHE_WRITE_TOKENS: usage.cache_write_tokens if usage else None,
        names.REASONING_TOKENS: usage.reasoning_tokens if usage else None,
        names.ERROR_TYPE: error,
        names.HTTP_METHOD: record.method,
        names.HTTP_STATUS: record.status,
        names.HTTP_ROUTE: record.path,
        names.REQUEST_ID: record.id,
        names.ORGANIZATION: record.organization_id,
        names.PROJECT: record.project,
        names.PRINCIPAL: record.principal,
        names.LEASE_ID: record.lease_id,
        names.GRANT_ID: record.grant_id,
        names.PURPOSE: record.purpose,
        names.ENVIRONMENT: record.environment,
        names.CREDENTIAL_ID: record.credential_id,
        names.CREDENTIAL_VERSION: record.credential_version,
        names.UPSTREAM_MODEL: record.upstream_model,
        names.PROVIDER_REQUEST_ID: record.provider_request_id,
        names.TIME_TO_FIRST_CHUNK: record.time_to_first_chunk,
        names.STREAMED: record.streamed,
        names.RETRIES: record.retries,
        names.CLIENT_GONE: record.client_gone,
        names.COST: record.cost,
        names.PRICE_VERSION: record.price_version,
        names.ESTIMATED: record.estimated,
        names.POLICY_VERSION: record.policy_version,
        names.INPUT: record.input,
        names.OUTPUT: record.output,
        names.CONTENT_TRUNCATED: record.content_truncated or None,
        names.RECORD_FORMAT: record.format,
    }


def _attributes(values: dict[str, Value | None] | dict[str, str]) -> list[KeyValue]:
    return [
        KeyValue(key=name, value=_any_value(value))
        for name, value in values.items()
        if value is not None and value != ""
    ]


def _any_value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=value)
