"""A batch is started by who may use its models, and draws what its lines may use at most."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.support.batch_kit import ALL, CHAT, line, own, uploaded
from tests.support.call_rig import CallRig, Sent, bundle, grant
from tests.support.eventually import eventually

from keylease.contracts.policy import Limits
from keylease.strongroom.gateway.interfaces import (
    LimitKey,
    LimitKind,
    LimitWindow,
    PriceQuote,
    PriceTier,
    in_usd,
)

SOURCE = {"type": "file", "file_id": "obj-eve"}


async def batch(rig: CallRig, file_id: str = "file-1", lease: bytes | None = None) -> Sent:
    count = len(rig.calls)
    body: dict[str, object] = {"input_file_id": file_id, "endpoint": CHAT}
    call = rig.send("POST", "/v1/batches", body, lease=lease)
    await eventually(lambda: call.status or len(rig.calls) > count)
    return call


# --- the batch -----------------------------------------------------------------------------------


async def test_a_batch_of_a_checked_file_needs_leave_for_its_models_only() -> None:
    rig = CallRig(bundle(grants=(grant(models=("gpt-4o",)),)))
    await uploaded(rig, line())
    call = await batch(rig)
    assert rig.upstream.json == {"input_file_id": "file-1", "endpoint": CHAT}
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    assert call.status == 200
    assert rig.link.objects["batch_1"].principal == "user:ada"


async def test_a_lease_for_other_models_does_not_start_it() -> None:
    rig = CallRig()
    await uploaded(rig, line())
    call = await batch(rig, lease=rig.make_lease(models=("gpt-4o-mini",)))
    assert (call.status, call.code) == (403, "model_not_allowed")


async def test_somebody_else_does_not_start_it() -> None:
    rig = CallRig()
    await uploaded(rig, line())
    call = await batch(rig, lease=rig.make_lease(sub="user:eve"))
    assert (call.status, call.code) == (403, "object_not_allowed")


async def test_a_file_that_was_not_checked_needs_a_separate_grant() -> None:
    rig = CallRig()
    await uploaded(rig, line(), purpose=b"user_data")
    call = await batch(rig)
    assert (call.status, call.code) == (403, "object_not_allowed")
    assert "not checked" in str(call.json)
    narrow = await batch(rig, lease=rig.make_lease(models=("gpt-4o",)))
    assert (narrow.status, narrow.code) == (403, "model_not_allowed")
    trusted = CallRig(bundle(grants=(ALL,)))
    await uploaded(trusted, line(), purpose=b"user_data")
    await batch(trusted)
    assert trusted.upstream.target == "/v1/batches"


BUDGET = LimitKey("grant-1", LimitKind.MICRO_USD, LimitWindow.DAY)
QUOTE = PriceQuote(
    input=1_000_000, output=2_000_000, cache_read=0, cache_write=0, version="prices-1"
)
"""1 micro-USD for an input token, 2 for an output token."""


def with_budget(micro_usd: int = 10**9, *, tokens_per_minute: int | None = None) -> CallRig:
    limits = Limits(budget_micro_usd=micro_usd, tokens_per_minute=tokens_per_minute)
    rig = CallRig(bundle(grants=(grant(limits=limits),)))
    rig.link.prices["openai", "gpt-4o"] = QUOTE
    return rig


async def test_what_the_lines_may_use_is_counted_as_for_calls() -> None:
    rig = CallRig()
    lines = (
        line(max_tokens=100),
        line(max_completion_tokens=30, n=3),
        line(),
        line("/v1/embeddings", input="x"),
    )
    await uploaded(rig, *lines)
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    bodies = [json.dumps(json.loads(one)["body"], separators=(",", ":")) for one in lines]
    assert bound.input_tokens == sum(map(len, bodies))
    assert (bound.output_tokens, bound.open_answers) == (100 + 3 * 30, 1)


async def test_a_batch_draws_what_its_lines_may_use_at_most() -> None:
    rig = with_budget()
    await uploaded(rig, line(max_tokens=100), line(), line(n=2))
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    call = await batch(rig)
    drawn = bound.input_tokens + 2 * (100 + 3 * 16_384)
    assert rig.link.used[BUDGET] == drawn, "reserved before it is sent"
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == drawn, "nobody here sees what it uses in the end"
    record = rig.link.records[-1]
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (
        bound.input_tokens,
        100 + 3 * 16_384,
    )
    assert (record.cost, record.estimated, record.requested_model) == (drawn, True, "gpt-4o")


async def test_a_batch_that_may_use_more_than_the_budget_is_refused_with_what_was_counted() -> None:
    rig = with_budget(30_000)
    await uploaded(rig, line(max_tokens=100), *[line()] * 2_000)
    before = len(rig.calls)
    call = await batch(rig)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (429, "limit_reached")
    assert len(rig.calls) == before
    assert not rig.link.used.get(BUDGET)
    said = str(call.json)
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    output = 100 + 2_000 * 16_384
    counted = f"Requests: 2,001; input tokens: {bound.input_tokens:,}; output tokens: {output:,};"
    assert f"{counted} at most {in_usd(bound.input_tokens + 2 * output)}." in said
    assert "Answers without a bound of their own: 2,000" in said
    assert "the longest of 'gpt-4o', 16,384 tokens." in said
    assert "Set max_tokens" in said
    assert "raise the limit" in said


async def test_a_bounded_batch_over_the_budget_is_told_to_be_smaller() -> None:
    rig = with_budget(1_000)
    await uploaded(rig, line(max_tokens=2_000))
    call = await batch(rig)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (429, "limit_reached")
    assert "Send smaller batches" in str(call.json)
    assert "without a bound" not in str(call.json)


async def test_the_price_of_a_long_context_is_not_that_of_many_short_requests() -> None:
    rig = with_budget()
    dear = PriceTier(
        above=10_000,
        input=9_000_000,
        output=9_000_000,
        cache_read=0,
        cache_write=0,
        cache_write_1h=0,
    )
    rig.link.prices["openai", "gpt-4o"] = msgspec.structs.replace(QUOTE, tiers=(dear,))
    await uploaded(rig, *[line(max_tokens=1)] * 500)
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    assert bound.input_tokens > dear.above > bound.largest_input > 0
    call = await batch(rig)
    assert rig.link.used[BUDGET] == bound.input_tokens + 2 * 500
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == bound.input_tokens + 2 * 500


async def test_a_batch_that_the_provider_refuses_draws_nothing() -> None:
    rig = with_budget()
    await uploaded(rig, line())
    call = await batch(rig)
    rig.upstream.answer({"error": {"message": "no"}}, status=400)
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == 0
    assert rig.link.records[-1].usage is None


async def test_a_batch_under_a_token_limit_draws_from_it() -> None:
    rig = with_budget(tokens_per_minute=1_000)
    await uploaded(rig, line(max_tokens=2_000))
    call = await batch(rig)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (429, "limit_reached")


async def test_where_no_budget_is_drawn_from_the_usage_of_a_batch_is_unknown() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o"] = QUOTE
    await uploaded(rig, line())
    call = await batch(rig)
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    record = rig.link.records[-1]
    assert (record.usage, record.cost, record.estimated) == (None, None, False)


async def test_a_batch_whose_file_was_not_counted_draws_from_no_budget() -> None:
    rig = with_budget()
    own(rig, "file-1")
    rig.link.objects["file-1"] = msgspec.structs.replace(
        rig.link.objects["file-1"], batch_models=("gpt-4o",)
    )
    call = await batch(rig)
    assert (call.status, call.code) == (403, "access_denied")
    assert "not counted" in str(call.json)
    assert not rig.calls


async def test_an_anthropic_batch_draws_what_its_requests_may_use_at_most() -> None:
    rig = with_budget()
    rig.link.prices["anthropic", "claude-4"] = QUOTE
    params = {"model": "claude-4", "max_tokens": 50, "messages": []}
    body: dict[str, object] = {
        "requests": [
            {"custom_id": "1", "params": params},
            {"custom_id": "2", "params": {**params, "max_tokens": 70}},
        ]
    }
    call = rig.send("POST", "/v1/messages/batches", body)
    size = 2 * len(json.dumps(params, separators=(",", ":")))
    assert rig.link.used[BUDGET] == size + 2 * (50 + 70)
    rig.upstream.answer({"id": "msgbatch_1"})
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == size + 2 * (50 + 70)
    assert rig.link.records[-1].estimated


@pytest.mark.parametrize("file_id", ["../x", "", "file-unknown"])
async def test_a_batch_of_an_unknown_file_is_refused(file_id: str) -> None:
    call = await batch(CallRig(), file_id)
    assert (call.status, call.code) == (403, "object_not_allowed")


# --- requests in the body ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        {"messages": [{"role": "user", "content": [{"type": "document", "source": SOURCE}]}]},
        {"container": "obj-eve"},
        {"container": {"id": "obj-eve", "skills": []}},
    ],
)
async def test_requests_of_an_anthropic_batch_name_only_ones_own_objects(
    named: dict[str, object],
) -> None:
    rig = CallRig()
    own(rig, "obj-eve", "user:eve", "cred-anthropic")
    parameters = {"model": "claude-4", "max_tokens": 5}
    requests = [
        {"custom_id": "1", "params": parameters},
        {"custom_id": "2", "params": {**parameters, **named}},
    ]
    call = rig.send("POST", "/v1/messages/batches", {"requests": requests})
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (403, "object_not_allowed")
    assert not rig.calls
