"""A body of very many messages is refused before any of them is made."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from tests.support.trace_kit import export

from keylease.errors import SpansTooLarge
from keylease.platform.traces.ingest.counting import is_too_many_in_json
from keylease.platform.traces.ingest.decoding import Encoding, decode
from keylease.platform.traces.ingest.limits import Limits

FEW = Limits(messages=1000)


def nested(count: int) -> bytes:
    request = export("chat")
    attribute = request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="many")
    attribute.value.array_value.CopyFrom(ArrayValue(values=[AnyValue()] * count))
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (Encoding.PROTOBUF, b"\x0a\x00" * 1001),
        (Encoding.PROTOBUF, b"\x8a\x80\x00\x00" * 1001),  # the same in a longer spelling
        (Encoding.PROTOBUF, nested(1001)),
        (Encoding.PROTOBUF, b"\x7b\x7c" + b"\x0a\x00" * 1001),  # behind a group
        (Encoding.JSON, b'{"resourceSpans":[' + b"{}," * 500 + b"{}]}"),
        (Encoding.JSON, b'{"x":[' + b'"",' * 9000 + b'""],"resourceSpans":[' + b"{}," * 600),
    ],
)
def test_too_many_messages_are_refused(encoding: Encoding, body: bytes) -> None:
    with pytest.raises(SpansTooLarge):
        decode(body, encoding, FEW)


def test_what_spans_need_is_taken() -> None:
    body = nested(900)
    assert decode(body, Encoding.PROTOBUF, FEW).spans == 1
    assert is_too_many_in_json(b"{" * 11, 10)


def test_braces_within_texts_are_no_messages() -> None:
    text = b'"' + b'{\\"' * 600 + b'"'
    assert not is_too_many_in_json(b'{"resourceSpans":[],"x":' + text + b"}", 500)


def test_a_body_names_a_hundred_projects_at_most() -> None:
    request = ExportTraceServiceRequest()
    for number in range(4):
        request.MergeFrom(export("chat", "answer", project=f"project {number}"))
    decoded = decode(request.SerializeToString(), Encoding.PROTOBUF, Limits(projects=3))
    assert len(decoded.groups) == 3
    assert decoded.rejected.total() == 2
