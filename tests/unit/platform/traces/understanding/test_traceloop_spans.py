"""Workflows, tasks, agents and tools of OpenLLMetry."""

import json

import pytest
from tests.support.span_kit import row_of, said

from keylease.platform.traces.model import SpanKind


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("workflow", SpanKind.TASK),
        ("task", SpanKind.TASK),
        ("agent", SpanKind.AGENT),
        ("tool", SpanKind.TOOL),
        ("unknown", SpanKind.OTHER),
    ],
)
def test_kinds(name: str, expected: SpanKind) -> None:
    assert row_of({"traceloop.span.kind": name}).kind is expected


def test_a_tool_has_its_entity_and_association() -> None:
    row = row_of(
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "weather",
            "traceloop.entity.input": json.dumps({"args": ["Oslo"], "kwargs": {}}),
            "traceloop.entity.output": '"Rain."',
            "traceloop.association.properties.session_id": "s-1",
            "traceloop.association.properties.user_id": "u-1",
            "traceloop.association.properties.plan": "free",
            "traceloop.prompt.key": "greeting",
            "traceloop.prompt.version": 4,
        }
    )
    assert (row.tool_name, row.agent_name) == ("weather", "")
    assert (said(row.input), said(row.output)) == ({"args": ["Oslo"], "kwargs": {}}, "Rain.")
    assert (row.session_id, row.user_id) == ("s-1", "u-1")
    assert (row.prompt_name, row.prompt_version) == ("greeting", "4")
    assert said(row.metadata) == {"session_id": "s-1", "user_id": "u-1", "plan": "free"}
