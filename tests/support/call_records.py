"""A call record for tests."""

from __future__ import annotations

from keylease.contracts.call_records import CallRecord, Usage


def call_record(number: int = 0) -> CallRecord:
    return CallRecord(
        id=f"request-{number}",
        trace_id="0" * 32,
        span_id="1" * 16,
        organization_id="o",
        principal="user:ada",
        lease_id="l",
        purpose="eval",
        environment="ci",
        provider="openai",
        upstream_model="gpt-4o",
        operation="chat",
        method="POST",
        path="/v1/chat/completions",
        started_at=0,
        duration=30_000,
        time_to_first_chunk=9_000,
        status=200,
        usage=Usage(input_tokens=3, output_tokens=2),
        cost=5,
        policy_version=1,
    )
