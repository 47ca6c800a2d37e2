"""A call record becomes a span: nothing that it says is lost, nothing unknown becomes zero."""

from __future__ import annotations

import msgspec

from keylease.contracts import span_attributes as names
from keylease.contracts.call_records import CallRecord, Usage
from keylease.platform.traces.gateway_calls import span_of
from keylease.platform.traces.model import Source, Status

RECORD = CallRecord(
    id="01890a5d-ac96-774b-bcce-b302099a8057",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    parent_span_id="00f067aa0ba902b7",
    span_id="b7ad6b7169203331",
    organization_id="01890a5d-ac96-774b-bcce-b302099a0001",
    project="search",
    principal="user:ada",
    lease_id="lease",
    purpose="development",
    environment="local",
    provider="openai",
    operation="chat",
    method="POST",
    path="/v1/chat/completions",
    requested_model="gpt-5",
    started_at=1_750_000_000_000_000,
    duration=250_000,
    status=200,
    usage=Usage(input_tokens=12, output_tokens=0),
    policy_version=3,
)


def test_a_call_stands_in_the_trace_of_its_caller() -> None:
    put = span_of(RECORD, gateway_id="gateway-1")
    span = put.span
    assert put.source is Source.GATEWAY
    assert (span.trace_id, span.parent_span_id, span.span_id) == (
        "0af7651916cd43dd8448eb211c80319c",
        "00f067aa0ba902b7",
        "b7ad6b7169203331",
    )
    assert span.name == "chat gpt-5"
    assert span.ended_at - span.started_at == 250_000
    assert span.status is Status.UNSET
    assert span.origin.resource["service.instance.id"] == "gateway-1"


def test_zero_is_kept_and_unknown_is_left_out() -> None:
    attributes = span_of(RECORD, gateway_id="g").span.attributes
    assert attributes[names.OUTPUT_TOKENS] == 0
    assert attributes[names.STREAMED] is False
    assert names.COST not in attributes
    assert names.CREDENTIAL_ID not in attributes


def test_a_refused_call_is_an_error() -> None:
    record = msgspec.structs.replace(RECORD, status=429, error="limit_reached", parent_span_id="")
    span = span_of(record, gateway_id="g").span
    assert span.status is Status.ERROR
    assert span.status_message == "limit_reached"
    assert span.parent_span_id == ""


def test_identifiers_that_are_none_become_stable_ones() -> None:
    record = msgspec.structs.replace(RECORD, trace_id="no hex", span_id="")
    first, again = span_of(record, gateway_id="g").span, span_of(record, gateway_id="g").span
    assert len(first.trace_id) == 32
    assert len(first.span_id) == 16
    assert (first.trace_id, first.span_id) == (again.trace_id, again.span_id)
