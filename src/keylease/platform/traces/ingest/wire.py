"""OTLP as the decoder reads it, whichever encoding it came in.

Protobuf messages have these attributes as they are. For JSON they are filled by msgspec, following
OTLP's own mapping (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"): identifiers are
hexadecimal, 64-bit integers may be texts, enumerations are integers, unknown names are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

Message = Any
"""A protobuf message, or one of the structs below: their attributes have the same names."""


class JsonValue(msgspec.Struct, rename="camel"):
    """AnyValue: one of them is set."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: JsonArray | None = None
    kvlist_value: JsonMembers | None = None
    bytes_value: str | None = None
    """Base64."""


class JsonArray(msgspec.Struct):
    """ArrayValue."""

    values: list[JsonValue] = []


class JsonKeyValue(msgspec.Struct):
    """KeyValue."""

    key: str = ""
    value: JsonValue = msgspec.field(default_factory=JsonValue)


class JsonMembers(msgspec.Struct):
    """KeyValueList."""

    values: list[JsonKeyValue] = []


class JsonEvent(msgspec.Struct, rename="camel"):
    """Span.Event."""

    time_unix_nano: int | str = 0
    name: str = ""
    attributes: list[JsonKeyValue] = []


class JsonLink(msgspec.Struct, rename="camel"):
    """Span.Link."""

    trace_id: str = ""
    span_id: str = ""
    attributes: list[JsonKeyValue] = []


class JsonStatus(msgspec.Struct):
    """Status."""

    message: str = ""
    code: int | str = 0


class JsonSpan(msgspec.Struct, rename="camel"):
    """Span."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[JsonKeyValue] = []
    dropped_attributes_count: int = 0
    events: list[JsonEvent] = []
    links: list[JsonLink] = []
    status: JsonStatus = msgspec.field(default_factory=JsonStatus)


class JsonScope(msgspec.Struct):
    """InstrumentationScope."""

    name: str = ""
    version: str = ""


class JsonScopeSpans(msgspec.Struct):
    """ScopeSpans."""

    scope: JsonScope = msgspec.field(default_factory=JsonScope)
    spans: list[JsonSpan] = []


class JsonResource(msgspec.Struct):
    """Resource."""

    attributes: list[JsonKeyValue] = []


class JsonResourceSpans(msgspec.Struct, rename="camel"):
    """ResourceSpans."""

    resource: JsonResource = msgspec.field(default_factory=JsonResource)
    scope_spans: list[JsonScopeSpans] = []


class JsonExport(msgspec.Struct, rename="camel"):
    """ExportTraceServiceRequest."""

    resource_spans: list[JsonResourceSpans] = []
