"""Call records of gateways, and spans of the SDK."""

import msgspec
from tests.support.call_records import call_record
from tests.support.span_kit import row_of, said, understand

from keylease.contracts.call_records import Usage
from keylease.platform.traces.gateway_calls import span_of
from keylease.platform.traces.model import Span, SpanKind, Status


def row_of_call(**changes: object) -> Span:
    record = msgspec.structs.replace(call_record(), **changes)
    return understand(span_of(record, gateway_id="g").span).span


def test_a_call_record_is_a_model_call_with_the_gateway_s_own_numbers() -> None:
    row = row_of_call(
        provider="openai",
        operation="chat",
        requested_model="fast",
        upstream_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        principal="user:0190",
        environment="staging",
        usage=Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4),
        cost=77,
        price_version="prices-1",
        time_to_first_chunk=1234,
        input='{"messages":[{"role":"user","content":"Hi."}],"tools":[]}',
        output="Hello.",
        status=200,
        error="",
    )
    assert (row.kind, row.provider, row.service) == (SpanKind.LLM, "openai", "keylease-gateway")
    assert (row.model, row.requested_model) == ("gpt-4o-mini-2024-07-18", "fast")
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (10, 5, 4)
    assert (row.cost, row.price_version, row.time_to_first_chunk) == (77, "prices-1", 1234)
    assert (row.environment, row.user_id) == ("staging", "user:0190")
    assert said(row.input) == [{"role": "user", "content": "Hi."}]
    assert said(row.output) == [{"role": "assistant", "content": "Hello."}]


def test_a_call_whose_price_the_gateway_did_not_know_has_none_here_either() -> None:
    row = row_of_call(provider="somewhere", response_model="m", cost=None, price_version="")
    assert (row.cost, row.price_version) == (None, "")


def test_a_refused_call_has_its_error() -> None:
    row = row_of_call(status=403, error="lease_expired")
    assert (row.status, row.error) == (Status.ERROR, "lease_expired")


def test_text_that_a_gateway_cut_stays_as_it_is() -> None:
    row = row_of_call(input='{"messages":[{"ro')
    assert said(row.input) == '{"messages":[{"ro'


def test_a_span_of_the_sdk_says_its_kind_input_and_output() -> None:
    row = row_of(
        {
            "keylease.kind": "retrieval",
            "keylease.input": '{"query":"rain"}',
            "keylease.output": '["d1"]',
            "keylease.metadata": '{"plan":"free"}',
        }
    )
    assert row.kind is SpanKind.RETRIEVAL
    assert (said(row.input), said(row.output)) == ({"query": "rain"}, ["d1"])
    assert said(row.metadata) == {"plan": "free"}
