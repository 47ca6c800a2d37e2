"""A call record as a span: its identifiers, name and attributes, for every zone alike.

Sources: OpenTelemetry's trace data model; ``span_attributes`` for the names.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

import keylease
from keylease.contracts import span_attributes as names
from keylease.contracts.call_records import CallRecord

SCOPE: Final = "keylease.gateway"
TRACE_BYTES: Final = 16
SPAN_BYTES: Final = 8
_FAILURE: Final = 400

Value: TypeAlias = str | int | bool


def failed(record: CallRecord) -> bool:
    """Whether the call ended in an error, the provider's or ours."""
    return record.status >= _FAILURE or bool(record.error)


def span_name(record: CallRecord) -> str:
    """As the GenAI conventions want it: operation and model."""
    model = record.requested_model
    return f"{record.operation} {model}" if model else record.operation


def resource_values(*, organization_id: str) -> dict[str, str]:
    """The attributes of the resource: the gateway."""
    return {
        "service.name": "keylease-gateway",
        "service.version": keylease.__version__,
        names.ORGANIZATION: organization_id,
    }


def span_identifier(text: str, size: int) -> bytes:
    """The bytes of an identifier; a stable substitute when it is malformed, never a failure."""
    try:
        identifier = bytes.fromhex(text)
    except ValueError:
        identifier = b""
    return identifier if len(identifier) == size else hashlib.sha256(text.encode()).digest()[:size]


def span_values(record: CallRecord) -> dict[str, Value]:
    """Every attribute that says something: what is unknown or empty is left out."""
    usage = record.usage
    error = record.error or (str(record.status) if record.status >= _FAILURE else "")
    values: dict[str, Value | None] = {
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
    return {name: value for name, value in values.items() if value is not None and value != ""}
