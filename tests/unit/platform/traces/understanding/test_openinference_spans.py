"""Spans of OpenInference that the instrumented SDKs do not make."""

from typing import Any

import pytest
from tests.support.span_kit import row_of, said

from keylease.platform.traces.model import SpanKind


def kind(name: str) -> dict[str, Any]:
    return {"openinference.span.kind": name}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CHAIN", SpanKind.TASK),
        ("TOOL", SpanKind.TOOL),
        ("AGENT", SpanKind.AGENT),
        ("RETRIEVER", SpanKind.RETRIEVAL),
        ("RERANKER", SpanKind.RERANKER),
        ("GUARDRAIL", SpanKind.GUARDRAIL),
        ("EVALUATOR", SpanKind.SCORER),
        ("PROMPT", SpanKind.PROMPT),
        ("UNKNOWN", SpanKind.OTHER),
    ],
)
def test_kinds(name: str, expected: SpanKind) -> None:
    assert row_of(kind(name)).kind is expected


def test_a_chain_has_its_values_metadata_and_tags() -> None:
    row = row_of(
        {
            **kind("CHAIN"),
            "input.value": '{"question": "rain?"}',
            "input.mime_type": "application/json",
            "output.value": "yes",
            "session.id": "s-1",
            "user.id": "u-1",
            "metadata": '{"plan": "free"}',
            "tag.tags": ["a", "b"],
            "llm.prompt_template.version": "v3",
        }
    )
    assert (said(row.input), said(row.output)) == ({"question": "rain?"}, "yes")
    assert (row.session_id, row.user_id, row.prompt_version) == ("s-1", "u-1", "v3")
    assert (said(row.metadata), row.tags) == ({"plan": "free"}, ["a", "b"])


def test_a_text_that_looks_like_a_number_stays_a_text() -> None:
    assert said(row_of({**kind("CHAIN"), "input.value": "42"}).input) == "42"


def test_a_retrieval_has_its_documents() -> None:
    row = row_of(
        {
            **kind("RETRIEVER"),
            "input.value": "rain",
            "retrieval.documents.0.document.id": "d1",
            "retrieval.documents.0.document.content": "It rains.",
            "retrieval.documents.0.document.score": 0.5,
            "retrieval.documents.0.document.metadata": '{"page": 3}',
        }
    )
    assert said(row.output) == [
        {"id": "d1", "content": "It rains.", "score": 0.5, "metadata": {"page": 3}}
    ]


def test_a_reranker_has_what_it_was_given_and_what_it_made_of_it() -> None:
    row = row_of(
        {
            **kind("RERANKER"),
            "reranker.query": "rain",
            "reranker.model_name": "rerank-1",
            "reranker.input_documents.0.document.id": "a",
            "reranker.input_documents.1.document.id": "b",
            "reranker.output_documents.0.document.id": "b",
        }
    )
    assert row.model == "rerank-1"
    assert said(row.input) == {"query": "rain", "documents": [{"id": "a"}, {"id": "b"}]}
    assert said(row.output) == [{"id": "b"}]


def test_a_cost_that_the_span_says_wins() -> None:
    row = row_of(
        {
            **kind("LLM"),
            "llm.model_name": "gpt-4o-mini",
            "llm.provider": "openai",
            "llm.token_count.prompt": 10,
            "llm.token_count.completion": 10,
            "llm.cost.total": 0.5,
        }
    )
    assert (row.cost, row.price_version) == (500_000, "reported")
