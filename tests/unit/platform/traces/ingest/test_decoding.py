"""OTLP becomes raw spans: what is wrong with one is said, and the others are taken."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from tests.support.trace_kit import NOW, export

from keylease.errors import SpansMalformed
from keylease.platform.traces.ingest.decoded import Decoded
from keylease.platform.traces.ingest.decoding import TOO_DEEP, Encoding, decode
from keylease.platform.traces.ingest.limits import (
    DROPPED_ATTRIBUTES,
    SHORTENED_VALUES,
    Limits,
)
from keylease.platform.traces.model import RawSpan, Status

LIMITS = Limits()


def protobuf(request: ExportTraceServiceRequest, limits: Limits = LIMITS) -> Decoded:
    return decode(request.SerializeToString(), Encoding.PROTOBUF, limits)


def in_json(*spans: dict[str, Any], **resource: Any) -> Decoded:  # noqa: ANN401 - members of JSON
    document = {"resourceSpans": [{**resource, "scopeSpans": [{"spans": list(spans)}]}]}
    return decode(json.dumps(document).encode(), Encoding.JSON, LIMITS)


def json_span(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of JSON
    return {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(NOW * 1000),
        "endTimeUnixNano": NOW * 1000 + 7000,
        **changes,
    }


def only(decoded: Decoded) -> RawSpan:
    ((span,),) = (group.spans for group in decoded.groups)
    return span


def test_both_encodings_say_the_same() -> None:
    request = export("chat")
    wire = request.resource_spans[0].scope_spans[0].spans[0]
    wire.trace_id = bytes.fromhex("5b8efff798038103d269b633813fc60c")
    wire.span_id = bytes.fromhex("eee19b7ec3c1b174")
    wire.kind = wire.SPAN_KIND_CLIENT
    wire.end_time_unix_nano = NOW * 1000 + 7000
    wire.status.code = wire.status.STATUS_CODE_ERROR
    wire.status.message = "it failed"
    values = {
        "text": {"stringValue": "words"},
        "empty": {"stringValue": ""},
        "whole": {"intValue": "-12"},
        "half": {"doubleValue": 0.5},
        "endless": {"doubleValue": "Infinity"},
        "yes": {"boolValue": True},
        "no": {"boolValue": False},
        "bytes": {"bytesValue": base64.b64encode(b"\x00\xff").decode()},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": 1}]}},
        "object": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
        "nothing": {},
    }
    add = wire.attributes.add
    add(key="text").value.string_value = "words"
    add(key="empty").value.string_value = ""
    add(key="whole").value.int_value = -12
    add(key="half").value.double_value = 0.5
    add(key="endless").value.double_value = float("inf")
    add(key="yes").value.bool_value = True
    add(key="no").value.bool_value = False
    add(key="bytes").value.bytes_value = b"\x00\xff"
    array = add(key="list").value.array_value
    array.values.add(string_value="a")
    array.values.add(int_value=1)
    add(key="object").value.kvlist_value.values.add(key="k").value.string_value = "v"
    add(key="nothing").value.CopyFrom(AnyValue())
    event = wire.events.add(name="choice", time_unix_nano=NOW * 1000)
    event.attributes.add(key="index").value.int_value = 0
    wire.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)
    from_json = only(
        in_json(
            json_span(
                status={"code": 2, "message": "it failed"},
                attributes=[{"key": key, "value": value} for key, value in values.items()],
                events=[
                    {
                        "name": "choice",
                        "timeUnixNano": str(NOW * 1000),
                        "attributes": [{"key": "index", "value": {"intValue": 0}}],
                    }
                ],
                links=[{"traceId": "01" * 16, "spanId": "02" * 8}],
                unknownMember={"is": "ignored"},
            )
        )
    )
    span = only(protobuf(request))
    assert span == from_json
    assert span.trace_id == "5b8efff798038103d269b633813fc60c"
    assert span.status is Status.ERROR
    assert (span.started_at, span.ended_at) == (NOW, NOW + 7)
    assert span.attributes["bytes"] == b"\x00\xff"
    assert span.attributes["endless"] == "inf"
    assert span.attributes["nothing"] is None


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("traceId", "", "trace id"),
        ("traceId", "0" * 32, "zeros"),
        ("traceId", "xy" * 16, "hexadecimal"),
        ("spanId", "ab", "span id"),
        ("spanId", "0" * 16, "zeros"),
        ("parentSpanId", "abcd", "parent"),
        ("startTimeUnixNano", 0, "start time"),
        ("startTimeUnixNano", "soon", "number"),
        ("startTimeUnixNano", "9" * 30, "64 bits"),
        ("startTimeUnixNano", 2**63 - 1, "start time"),
        ("endTimeUnixNano", 2**63 - 1, "end time"),
    ],
)
def test_a_malformed_span_is_refused_alone(member: str, value: object, reason: str) -> None:
    decoded = in_json(json_span(**{member: value}), json_span(spanId="01" * 8))
    assert decoded.spans == 1
    ((said, count),) = decoded.rejected.items()
    assert reason in said
    assert count == 1


def test_identifiers_of_another_length_are_refused_in_protobuf() -> None:
    request = export("short", "zero", "good")
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = b"\x01" * 8
    spans[1].span_id = bytes(8)
    decoded = protobuf(request)
    assert [span.name for group in decoded.groups for span in group.spans] == ["good"]
    assert decoded.rejected.total() == 2


def test_a_parent_of_zeros_is_a_root_and_a_skewed_clock_is_mended() -> None:
    decoded = in_json(json_span(parentSpanId="0" * 16, endTimeUnixNano=1))
    span = only(decoded)
    assert span.parent_span_id == ""
    assert span.ended_at == span.started_at
    assert "end before they start" in next(iter(decoded.warnings))


def test_of_ten_thousand_attributes_the_first_are_kept_and_the_rest_counted() -> None:
    request = export("wide")
    wire = request.resource_spans[0].scope_spans[0].spans[0]
    for number in range(10_000):
        wire.attributes.add(key=f"key {number}").value.int_value = number
    span = only(protobuf(request))
    assert len(span.attributes) == LIMITS.attributes + 1
    assert span.attributes[DROPPED_ATTRIBUTES] == 10_000 - LIMITS.attributes


def test_what_is_too_long_or_too_deep_is_shortened_and_counted() -> None:
    limits = Limits(text_characters=10, name_characters=5, depth=3)
    request = export("a name")
    wire = request.resource_spans[0].scope_spans[0].spans[0]
    wire.attributes.add(key="long").value.string_value = "x" * 11
    value = wire.attributes.add(key="deep").value
    for _ in range(5):
        value = value.array_value.values.add()
    span = only(protobuf(request, limits))
    assert span.name == "a nam"
    assert span.attributes == {"long": "x" * 10, "deep": [[TOO_DEEP]], SHORTENED_VALUES: 3}


def test_events_and_links_beyond_the_limit_are_dropped_and_said() -> None:
    request = export("many")
    wire = request.resource_spans[0].scope_spans[0].spans[0]
    for _ in range(5):
        wire.events.add(name="event")
        wire.links.add(trace_id=b"\x01" * 16, span_id=b"\x01" * 8)
    wire.links[0].span_id = b""
    decoded = protobuf(request, Limits(events=2, links=3))
    span = only(decoded)
    assert (len(span.events), len(span.links)) == (2, 2)
    assert decoded.warnings.total() == 6


def test_spans_are_sorted_by_the_project_that_their_resource_names() -> None:
    request = export("one", "two", project="apollo")
    request.MergeFrom(export("three"))
    groups = protobuf(request).groups
    assert {group.project: len(group.spans) for group in groups} == {"apollo": 2, "": 1}


@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\xff", b"not a message", b"\x0a\x05hello" * 3])
def test_what_is_no_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(SpansMalformed):
        decode(body, Encoding.PROTOBUF, LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"resourceSpans": 7}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\xff"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\\ud800"}]}]}]}',
        b'{"resourceSpans":' + b"[" * 100_000,
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":'
        + b'{"arrayValue":{"values":[' * 5000,
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(SpansMalformed) as refused:
        decode(body, Encoding.JSON, LIMITS)
    assert "\xff" not in refused.value.message


def test_text_that_is_not_utf_8_makes_a_body_unreadable() -> None:
    body = (
        export("a-name-to-be-spoilt")
        .SerializeToString()
        .replace(b"spoilt", b"\xff\xfe\xfd\xfc\xfb\xfa")
    )
    with pytest.raises(SpansMalformed, match="UTF-8"):
        decode(body, Encoding.PROTOBUF, LIMITS)


def test_protobuf_nested_without_end_is_refused_or_cut() -> None:
    request = export("deep")
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="deep").value
    for _ in range(40):
        value = value.array_value.values.add()
    span = only(protobuf(request))
    assert TOO_DEEP in json.dumps(span.attributes)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_spoilt_bodies_are_decoded_or_refused(noise: bytes, place: int) -> None:
    whole = export("one", "two").SerializeToString()
    place %= len(whole)
    spoilt = whole[:place] + noise + whole[place + len(noise) :]
    for encoding in Encoding:
        try:
            decoded = decode(spoilt, encoding, LIMITS)
        except SpansMalformed:
            continue
        assert all(len(span.trace_id) == 32 for g in decoded.groups for span in g.spans)
