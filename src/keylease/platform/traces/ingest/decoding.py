"""OTLP bodies become raw spans: bounded, checked, and what is wrong with each said.

Protects: the process from bodies that are none, values nested without end, spans with thousands of
    attributes, identifiers of another length, times outside of 1970 to 2200.
Does not protect: what a text says is masked afterwards; nothing is stored or logged here.
Limits: text that is not UTF-8 makes a whole body unreadable, as it does for every OTLP receiver.

The loops read each field of a protobuf message once: making Python objects of them is what costs.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from keylease.contracts import span_attributes
from keylease.errors import SpansMalformed, SpansTooLarge
from keylease.platform.traces.ingest import wire
from keylease.platform.traces.ingest.counting import is_too_many_in_json, is_too_many_in_protobuf
from keylease.platform.traces.ingest.decoded import Decoded, Group
from keylease.platform.traces.ingest.limits import DROPPED_ATTRIBUTES, SHORTENED_VALUES, Limits
from keylease.platform.traces.ingest.wire import Message
from keylease.platform.traces.model import (
    AttributeValue,
    Origin,
    RawEvent,
    RawLink,
    RawSpan,
    Status,
)

TOO_DEEP: Final = "[nested too deeply]"
"""Stands for what lies deeper than the limit."""
_STATUS: Final = (Status.UNSET, Status.OK, Status.ERROR)
_HIGHEST_KIND: Final = 5
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
_NANOSECONDS: Final = 1000
_LARGEST_INTEGER: Final = 2**63
_HEXADECIMAL: Final = re.compile(r"[0-9a-fA-F]*")
_SPELLED_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_SPELLED_CODES: Final = ("UNSET", "OK", "ERROR")
_JSON: Final = msgspec.json.Decoder(wire.JsonExport)


class Encoding(StrEnum):
    """How OTLP is written."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


class _Refused(Exception):
    """This span cannot be taken; the text is the reason."""


def decode(body: bytes, encoding: Encoding, limits: Limits) -> Decoded:
    """Read a body. Raises ``SpansMalformed`` when it is no OTLP.

    What one span has wrong refuses that span, and the result says why. Raises ``SpansTooLarge``
    for more messages than spans could need.
    """
    if (
        is_too_many_in_protobuf(body, limits.messages)
        if encoding is Encoding.PROTOBUF
        else is_too_many_in_json(body, limits.messages // 2)
    ):
        raise SpansTooLarge(
            f"The body has more than {limits.messages} parts.",
            advice="Send fewer spans in a request (OTEL_BSP_MAX_EXPORT_BATCH_SIZE).",
        )
    if encoding is Encoding.PROTOBUF:
        try:
            message: Message = ExportTraceServiceRequest.FromString(body)
        except (DecodeError, RecursionError):
            raise SpansMalformed(
                "The body is not an OTLP trace export in protobuf, is nested too deeply, or holds"
                " text that is not UTF-8.",
                advice="Nothing of it was taken. Does Content-Type say how it is written?",
            ) from None
        return _Protobuf(limits, large=len(body) > limits.span_bytes).export(message)
    try:
        message = _JSON.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = str(error).rpartition(" - at ")[2] if isinstance(error, msgspec.DecodeError) else ""
        where = f" at {place[:200]}" if place.startswith("`$") else ""
        raise SpansMalformed(
            f"The body is not an OTLP trace export in JSON{where}, or holds text that is not"
            " UTF-8.",
            advice="Nothing of it was taken. OTLP's JSON writes identifiers in hexadecimal.",
        ) from None
    return _Json(limits, large=len(body) > limits.span_bytes).export(message)


class _Decoder:
    """What both encodings share. One object for one body."""

    def __init__(self, limits: Limits, *, large: bool) -> None:
        self._limits = limits
        self._large = large
        """Whether a single span could be over its limit."""
        self._result = Decoded([])
        self._shortened = 0
        self._dropped = 0

    # --- what differs ----------------------------------------------------------------------

    def _attributes(self, items: Iterable[Message]) -> dict[str, AttributeValue]:
        raise NotImplementedError

    def _value(self, value: Message, depth: int) -> AttributeValue:
        raise NotImplementedError

    def _identifier(self, value: bytes | str, size: int, what: str) -> str:
        raise NotImplementedError

    def _size(self, span: Message) -> int:
        raise NotImplementedError

    # --- what does not ---------------------------------------------------------------------

    def export(self, message: Message) -> Decoded:
        groups: dict[str, list[RawSpan]] = {}
        for resource_spans in message.resource_spans:
            resource = self._attributes(resource_spans.resource.attributes)
            called = resource.get(span_attributes.PROJECT, "")
            named = called if isinstance(called, str) else ""
            if named not in groups and len(groups) >= self._limits.projects:
                count = sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)
                self._result.rejected["spans of too many projects in one body"] += count
                continue
            spans = groups.setdefault(named, [])
            for scope_spans in resource_spans.scope_spans:
                scope = scope_spans.scope
                origin = Origin(
                    resource,
                    scope.name[: self._limits.name_characters],
                    scope.version[: self._limits.name_characters],
                )
                for span in scope_spans.spans:
                    try:
                        spans.append(self._span(span, origin))
                    except _Refused as refused:
                        self._result.rejected[str(refused)] += 1
        self._result.groups = [Group(name, spans) for name, spans in groups.items() if spans]
        return self._result

    def _span(self, span: Message, origin: Origin) -> RawSpan:
        limits = self._limits
        if self._large and self._size(span) > limits.span_bytes:
            raise _Refused(f"a span over {limits.span_bytes} bytes")
        trace_id = self._identifier(span.trace_id, _TRACE_ID_BYTES, "trace id")
        span_id = self._identifier(span.span_id, _SPAN_ID_BYTES, "span id")
        parent = span.parent_span_id
        started_at, ended_at = self._times(span)
        self._shortened = self._dropped = 0
        attributes = self._attributes(span.attributes)
        events = tuple(self._events(span.events)) if span.events else ()
        links = tuple(self._links(span.links)) if span.links else ()
        status = span.status
        code, message = _enumerated(status.code, _SPELLED_CODES), status.message
        name = span.name
        if len(name) > limits.name_characters:
            name = self._cut(name, limits.name_characters)
        if len(message) > limits.text_characters:
            message = self._cut(message, limits.text_characters)
        dropped = self._dropped + span.dropped_attributes_count
        if dropped > 0:
            attributes[DROPPED_ATTRIBUTES] = dropped
        if self._shortened:
            attributes[SHORTENED_VALUES] = self._shortened
        kind = _enumerated(span.kind, _SPELLED_KINDS)
        return RawSpan(
            trace_id,
            span_id,
            self._parent(parent) if parent else "",
            name,
            started_at,
            ended_at,
            _STATUS[code] if 0 <= code < len(_STATUS) else Status.UNSET,
            message,
            kind if 0 <= kind <= _HIGHEST_KIND else 0,
            attributes,
            events,
            links,
            origin,
        )

    def _parent(self, value: bytes | str) -> str:
        try:
            return self._identifier(value, _SPAN_ID_BYTES, "parent span id")
        except _Refused as refused:
            if "zeros" in str(refused):  # some senders write a root so
                return ""
            raise

    def _times(self, span: Message) -> tuple[int, int]:
        started_at = _integer(span.start_time_unix_nano) // _NANOSECONDS
        ended_at = _integer(span.end_time_unix_nano) // _NANOSECONDS
        if not self._limits.earliest < started_at < self._limits.latest:
            raise _Refused("a start time that is missing or outside of 1970 to 2200")
        if ended_at < started_at:
            self._result.warnings[
                "spans that end before they start, taken as ending at their start"
            ] += 1
            ended_at = started_at
        if ended_at >= self._limits.latest:
            raise _Refused("an end time outside of 1970 to 2200")
        return started_at, ended_at

    def _events(self, items: Iterable[Message]) -> Iterable[RawEvent]:
        for number, event in enumerate(items):
            if number >= self._limits.events:
                self._result.warnings["events beyond the limit of a span, dropped"] += 1
                continue
            name = event.name
            if len(name) > self._limits.name_characters:
                name = self._cut(name, self._limits.name_characters)
            at = min(_integer(event.time_unix_nano) // _NANOSECONDS, self._limits.latest)
            yield RawEvent(name, max(0, at), self._attributes(event.attributes))

    def _links(self, items: Iterable[Message]) -> Iterable[RawLink]:
        for number, link in enumerate(items):
            if number >= self._limits.links:
                self._result.warnings["links beyond the limit of a span, dropped"] += 1
                continue
            try:
                trace_id = self._identifier(link.trace_id, _TRACE_ID_BYTES, "trace id")
                span_id = self._identifier(link.span_id, _SPAN_ID_BYTES, "span id")
            except _Refused:
                self._result.warnings["links to something that is no span, dropped"] += 1
                continue
            yield RawLink(trace_id, span_id, self._attributes(link.attributes))

    def _cut(self, text: str, length: int) -> str:
        self._shortened += 1
        return text[:length]

    def _text(self, text: str) -> str:
        longest = self._limits.text_characters
        return text if len(text) <= longest else self._cut(text, longest)

    def _nested(self, items: Iterable[Message], depth: int, *, named: bool) -> AttributeValue:
        """A list, or an object whose members have names."""
        if depth <= 1:
            self._shortened += 1
            return TOO_DEEP
        if named:
            return {one.key: self._value(one.value, depth - 1) for one in items}
        return [self._value(one, depth - 1) for one in items]

    def _admits(self, key: str, taken: int) -> bool:
        """Whether one more attribute is taken; otherwise it is counted as dropped."""
        if taken < self._limits.attributes and 0 < len(key) <= self._limits.key_characters:
            return True
        self._dropped += 1
        return False


class _Protobuf(_Decoder):
    def _attributes(self, items: Iterable[Message]) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {}
        limits = self._limits
        longest, longest_key, most = (
            limits.text_characters,
            limits.key_characters,
            limits.attributes,
        )
        for item in items:
            key = item.key
            if not 0 < len(key) <= longest_key or len(found) >= most:
                self._dropped += 1
                continue
            value = item.value
            text = value.string_value
            if text:  # most are texts; one that is empty is told from the others below
                found[key] = text if len(text) <= longest else self._cut(text, longest)
            else:
                found[key] = self._value(value, limits.depth)
        return found

    def _value(self, value: Message, depth: int) -> AttributeValue:
        kind = value.WhichOneof("value")
        if kind in {"array_value", "kvlist_value"}:
            return self._nested(getattr(value, kind).values, depth, named=kind == "kvlist_value")
        if kind == "string_value":
            return self._text(value.string_value)
        if kind == "double_value":
            return _finite(value.double_value)
        if kind in {"int_value", "bool_value", "bytes_value"}:
            scalar: AttributeValue = getattr(value, kind)
            return scalar
        return None  # nothing, or a kind that came into OTLP later

    def _identifier(self, value: bytes | str, size: int, what: str) -> str:
        if len(value) != size or not isinstance(value, bytes):
            raise _Refused(f"a {what} that has not {size} bytes")
        if not any(value):
            raise _Refused(f"a {what} of zeros")
        return value.hex()

    def _size(self, span: Message) -> int:
        return int(span.ByteSize())


class _Json(_Decoder):
    def _attributes(self, items: Iterable[Message]) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {}
        for item in items:
            if self._admits(item.key, len(found)):
                found[item.key] = self._value(item.value, self._limits.depth)
        return found

    def _value(self, value: wire.JsonValue, depth: int) -> AttributeValue:
        if value.string_value is not None:
            return self._text(value.string_value)
        if value.array_value is not None:
            return self._nested(value.array_value.values, depth, named=False)
        if value.kvlist_value is not None:
            return self._nested(value.kvlist_value.values, depth, named=True)
        return self._scalar(value)

    def _scalar(self, value: wire.JsonValue) -> AttributeValue:
        if value.int_value is not None:
            return _integer(value.int_value)
        if value.double_value is not None:
            return _finite(_floating(value.double_value))
        if value.bytes_value is not None:
            try:
                return binascii.a2b_base64(value.bytes_value)
            except (binascii.Error, ValueError):
                raise _Refused("an attribute of bytes that is not base64") from None
        return value.bool_value

    def _identifier(self, value: bytes | str, size: int, what: str) -> str:
        if not isinstance(value, str) or len(value) != 2 * size:
            raise _Refused(f"a {what} that has not {2 * size} hexadecimal digits")
        if _HEXADECIMAL.fullmatch(value) is None:
            raise _Refused(f"a {what} that is not hexadecimal")
        if not value.strip("0"):
            raise _Refused(f"a {what} of zeros")
        return value.lower()

    def _size(self, span: Message) -> int:
        return len(msgspec.json.encode(span))


def _integer(value: int | str) -> int:
    """A 64-bit integer, which JSON may write as text."""
    if isinstance(value, str):
        try:
            value = int(value) if len(value) <= 20 else 2 * _LARGEST_INTEGER  # noqa: PLR2004 - digits of 64 bits
        except ValueError:
            raise _Refused("a number that is none") from None
    if not -_LARGEST_INTEGER <= value < 2 * _LARGEST_INTEGER:
        raise _Refused("a number beyond 64 bits")
    return value


def _floating(value: float | str) -> float:
    try:
        return float(value)  # JSON writes "NaN" and "Infinity" as texts
    except ValueError:
        raise _Refused("a number that is none") from None


def _finite(value: float) -> AttributeValue:
    """JSON texts, which attributes are kept as, know no infinity."""
    return value if math.isfinite(value) else str(value)


def _enumerated(value: int | str, spelled: tuple[str, ...]) -> int:
    """An enumeration; some senders of JSON spell it, though OTLP does not allow it."""
    if isinstance(value, int):
        return value
    word = value.rpartition("_")[2]
    return spelled.index(word) if word in spelled else 0
