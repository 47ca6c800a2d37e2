"""What a batch drew over its real usage goes back when its end, or its results, are read."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from tests.support.call_rig import CallRig, Sent, bundle, grant
from tests.support.eventually import eventually

from keylease.contracts.policy import Limits, ObjectAccess
from keylease.errors import StorageFull
from keylease.strongroom.gateway.interfaces import (
    BatchBound,
    LimitKey,
    LimitKind,
    LimitWindow,
    OwnedObject,
    PriceQuote,
)

BUDGET = LimitKey("grant-1", LimitKind.MICRO_USD, LimitWindow.DAY)
QUOTE = PriceQuote(
    input=1_000_000, output=2_000_000, cache_read=0, cache_write=0, version="prices-1"
)
"""1 micro-USD for an input token, 2 for an output token."""
USAGE = {"input_tokens": 30, "output_tokens": 5, "total_tokens": 35}
BOUND = BatchBound(
    input_tokens=1000, output_tokens=200, open_answers=0, requests=3, largest_input=400
)
CHARGED = 1000 + 2 * 200


def make_rig(limits: Limits | None = None) -> CallRig:
    rig = CallRig(bundle(grants=(grant(limits=limits or Limits(budget_micro_usd=10**9)),)))
    for model in (("openai", "gpt-4o"), ("anthropic", "claude-4")):
        rig.link.prices[model] = QUOTE
    rig.link.objects["file-in"] = OwnedObject(
        object_id="file-in",
        principal="user:ada",
        credential_id="cred-openai",
        purpose="development",
        environment="local",
        batch_models=("gpt-4o",),
        batch_bound=BOUND,
    )
    return rig


async def ended(call: Sent) -> Sent:
    await eventually(lambda: call.finished or call.aborted)
    return call


async def sent(rig: CallRig, method: str, path: str, body: dict[str, object] | None = None) -> Sent:
    """A request that is on its way to the provider, or was refused."""
    before = len(rig.calls)
    call = rig.send(method, path, body)
    await eventually(lambda: call.status or len(rig.calls) > before)
    return call


async def started(rig: CallRig) -> None:
    call = await sent(rig, "POST", "/v1/batches", {"input_file_id": "file-in", "endpoint": "/v1/x"})
    rig.upstream.answer({"id": "batch_1", "status": "validating"})
    await ended(call)
    assert call.status == 200, call.body
    assert rig.link.used[BUDGET] == CHARGED


async def read(rig: CallRig, path: str, answer: Mapping[str, object] | bytes) -> Sent:
    call = await sent(rig, "GET", path)
    assert not call.status, call.body
    rig.upstream.answer(answer if isinstance(answer, bytes) else dict(answer))
    return await ended(call)


def lines(*answers: object) -> bytes:
    return b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)


async def test_a_batch_is_remembered_with_what_it_drew() -> None:
    rig = make_rig()
    await started(rig)
    charge = rig.link.objects["batch_1"].batch_charge
    assert charge is not None
    assert (charge.batch_id, charge.provider, charge.model) == ("batch_1", "openai", "gpt-4o")
    assert (charge.micro_usd, charge.limits) == (CHARGED, (BUDGET,))
    assert charge.charged_at == rig.clock.now()
    assert (charge.requests, charge.largest_input) == (3, 400)


@pytest.mark.parametrize(
    "limits", [Limits(requests_per_minute=5), Limits(tokens_per_minute=10**6)], ids=str
)
async def test_where_no_budget_was_drawn_from_there_is_nothing_to_settle(limits: Limits) -> None:
    rig = make_rig(limits)
    call = await sent(rig, "POST", "/v1/batches", {"input_file_id": "file-in"})
    rig.upstream.answer({"id": "batch_1"})
    await ended(call)
    assert rig.link.objects["batch_1"].batch_charge is None
    await read(rig, "/v1/batches/batch_1", {"id": "batch_1", "status": "completed", "usage": USAGE})
    assert not rig.link.batches_settled


async def test_the_usage_of_an_ended_batch_settles_it() -> None:
    rig = make_rig()
    await started(rig)
    going = {"id": "batch_1", "status": "in_progress", "usage": USAGE}
    await read(rig, "/v1/batches/batch_1", going)
    assert not rig.link.batches_settled, "it goes on"
    done = {"id": "batch_1", "status": "completed", "usage": USAGE}
    call = await read(rig, "/v1/batches/batch_1", done)
    assert call.json == done
    assert rig.link.batches_settled == [("batch_1", 30 + 2 * 5)]
    await read(rig, "/v1/batches/batch_1", done)
    assert len(rig.link.batches_settled) == 1
    record = rig.link.records[-1]
    assert (record.usage, record.cost) == (None, None), "the record of a call that cost nothing"


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
async def test_without_usage_the_file_of_the_results_settles_it(status: str) -> None:
    rig = make_rig()
    await started(rig)
    batch = {
        "id": "batch_1",
        "status": status,
        "output_file_id": "file-out",
        "error_file_id": "file-bad",
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
    }
    await read(rig, "/v1/batches/batch_1", batch)
    assert not rig.link.batches_settled
    failed = {"response": {"status_code": 400, "body": {"error": {}}}}
    await read(rig, "/v1/files/file-bad/content", lines(failed))
    assert not rig.link.batches_settled, "what failed is not all there is"
    body = {"model": "gpt-4o", "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    good = {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    found = lines(good, good, failed, {"response": None, "error": {"code": "batch_expired"}})
    call = await read(rig, "/v1/files/file-out/content", found)
    assert call.body == found
    assert rig.link.batches_settled == [("batch_1", 2 * (7 + 2 * 2))]
    await read(rig, "/v1/files/file-out/content", found)
    assert len(rig.link.batches_settled) == 1


@pytest.mark.parametrize(
    ("state", "cost"),
    [
        ({"status": "failed"}, 0),
        ({"status": "cancelled", "request_counts": {"completed": 0}}, 0),
        ({"status": "expired", "request_counts": {"completed": 0}}, 0),
        ({"status": "cancelled", "request_counts": {"completed": 1}}, None),
        ({"status": "cancelling", "request_counts": {"completed": 0}}, None),
        ({"status": "completed"}, None),
        ({"status": "completed", "usage": {"input_tokens": 0, "output_tokens": 0}}, None),
        ({"status": "cancelled", "usage": {"input_tokens": 4, "output_tokens": 1}}, 6),
        ({"status": "completed", "usage": {"input_tokens": "many"}}, None),
        ({"status": 5}, None),
    ],
)
async def test_what_an_ended_batch_says(state: dict[str, object], cost: int | None) -> None:
    rig = make_rig()
    await started(rig)
    await read(rig, "/v1/batches/batch_1", {"id": "batch_1", **state})
    assert rig.link.batches_settled == ([] if cost is None else [("batch_1", cost)])


@pytest.mark.parametrize(
    "last",
    [
        {"response": {"status_code": 200, "body": {"id": "x"}}},
        {"response": {"status_code": 200, "body": {"usage": {"prompt_tokens": -1}}}},
        {"response": {"status_code": 200}},
        {"response": 5},
        "text",
    ],
)
async def test_results_that_do_not_say_it_all_settle_nothing(last: object) -> None:
    rig = make_rig()
    await started(rig)
    batch = {"id": "batch_1", "status": "completed", "output_file_id": "file-out"}
    await read(rig, "/v1/batches/batch_1", batch)
    good = {"response": {"status_code": 200, "body": {"usage": {"prompt_tokens": 7}}}}
    await read(rig, "/v1/files/file-out/content", lines(good, last, good))
    assert not rig.link.batches_settled


async def test_results_that_break_off_settle_nothing() -> None:
    rig = make_rig()
    await started(rig)
    batch = {"id": "batch_1", "status": "completed", "output_file_id": "file-out"}
    await read(rig, "/v1/batches/batch_1", batch)
    good = {"response": {"status_code": 200, "body": {"usage": {"prompt_tokens": 7}}}}
    broken = await sent(rig, "GET", "/v1/files/file-out/content")
    rig.upstream.head(length=10**6, content_type=b"application/octet-stream")
    rig.upstream.receiver.data_received(lines(good))
    rig.upstream.fail("closed", sent=True)
    await ended(broken)
    left = await sent(rig, "GET", "/v1/files/file-out/content")
    rig.upstream.head(length=10**6, content_type=b"application/octet-stream")
    rig.upstream.receiver.data_received(lines(good))
    left.handler.client_gone()
    part = await sent(rig, "GET", "/v1/files/file-out/content")
    rig.upstream.answer(lines(good), status=206)
    await ended(part)
    assert not rig.link.batches_settled


async def test_other_files_and_batches_settle_nothing() -> None:
    rig = make_rig()
    await started(rig)
    good = {"response": {"status_code": 200, "body": {"usage": {"prompt_tokens": 1}}}}
    await read(rig, "/v1/files/file-in/content", lines(good))
    assert not rig.link.batches_settled


async def test_somebody_else_with_a_grant_for_all_objects_settles_it_too() -> None:
    rig = make_rig()
    await started(rig)
    wider = grant(objects=ObjectAccess.ALL, limits=Limits(budget_micro_usd=10**9))
    rig.path.replace_policy(bundle(version=2, grants=(wider,)))
    rig.lease = rig.make_lease(sub="user:eve")
    await read(rig, "/v1/batches/batch_1", {"id": "batch_1", "status": "completed", "usage": USAGE})
    assert rig.link.batches_settled == [("batch_1", 40)]


async def test_a_ledger_that_cannot_be_written_takes_no_answer_away() -> None:
    rig = make_rig()
    await started(rig)
    rig.link.settling_error = StorageFull("No space is left.")
    done = {"id": "batch_1", "status": "completed", "usage": USAGE}
    call = await read(rig, "/v1/batches/batch_1", done)
    assert (call.status, call.json) == (200, done)
    rig.link.settling_error = None
    await read(rig, "/v1/batches/batch_1", done)
    assert rig.link.batches_settled == [("batch_1", 40)]


async def test_without_a_price_nothing_is_settled() -> None:
    rig = make_rig()
    await started(rig)
    rig.link.prices.clear()
    await read(rig, "/v1/batches/batch_1", {"id": "batch_1", "status": "completed", "usage": USAGE})
    assert not rig.link.batches_settled


# --- Anthropic -----------------------------------------------------------------------------------


async def started_messages(rig: CallRig) -> None:
    params = {"model": "claude-4", "max_tokens": 50, "messages": []}
    call = await sent(
        rig, "POST", "/v1/messages/batches", {"requests": [{"custom_id": "1", "params": params}]}
    )
    rig.upstream.answer({"id": "msgbatch_1", "processing_status": "in_progress"})
    await ended(call)
    assert rig.link.objects["msgbatch_1"].batch_charge is not None


async def test_the_results_of_a_message_batch_settle_it() -> None:
    rig = make_rig()
    await started_messages(rig)
    counts = {"succeeded": 2, "errored": 1}
    ended_batch = {"id": "msgbatch_1", "processing_status": "ended", "request_counts": counts}
    await read(rig, "/v1/messages/batches/msgbatch_1", ended_batch)
    assert not rig.link.batches_settled, "it does not say what was used"
    usage = {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 2}
    good = {
        "custom_id": "a",
        "result": {"type": "succeeded", "message": {"model": "claude-4", "usage": usage}},
    }
    others = [{"result": {"type": kind}} for kind in ("errored", "canceled", "expired")]
    found = lines(good, *others, good).rstrip(b"\n")
    await read(rig, "/v1/messages/batches/msgbatch_1/results", found)
    assert rig.link.batches_settled == [("msgbatch_1", 2 * (7 + 2 * 2))]


@pytest.mark.parametrize(
    ("state", "settled"),
    [
        (
            {"processing_status": "ended", "request_counts": {"succeeded": 0, "canceled": 1}},
            [("msgbatch_1", 0)],
        ),
        ({"processing_status": "canceling", "request_counts": {"succeeded": 0}}, []),
        ({"processing_status": "ended"}, []),
        ({"processing_status": "ended", "request_counts": {"succeeded": 1}}, []),
    ],
)
async def test_a_message_batch_of_which_nothing_succeeded_cost_nothing(
    state: dict[str, object], settled: list[tuple[str, int]]
) -> None:
    rig = make_rig()
    await started_messages(rig)
    await read(rig, "/v1/messages/batches/msgbatch_1", {"id": "msgbatch_1", **state})
    assert rig.link.batches_settled == settled


async def test_a_new_kind_of_result_settles_nothing() -> None:
    rig = make_rig()
    await started_messages(rig)
    found = lines({"custom_id": "a", "result": {"type": "deferred"}})
    await read(rig, "/v1/messages/batches/msgbatch_1/results", found)
    assert not rig.link.batches_settled


# --- where results are ----------------------------------------------------------------------------


def linked(batch_id: str) -> dict[str, object]:
    url = f"https://api.anthropic.com/v1/messages/batches/{batch_id}/results"
    return {"id": batch_id, "request_counts": {"succeeded": 1}, "results_url": url, "x": 1.50}


OWN = "/v1/messages/batches/msgbatch_1/results"


async def test_nobody_is_sent_to_the_provider_for_results() -> None:
    """The SDK would send the lease there."""
    rig = make_rig()
    await started_messages(rig)
    call = await read(rig, "/anthropic/v1/messages/batches/msgbatch_1", linked("msgbatch_1"))
    assert call.json == {**linked("msgbatch_1"), "results_url": OWN}
    call = await read(rig, "/v1/messages/batches/msgbatch_1", {"id": "a", "results_url": None})
    assert call.json == {"id": "a", "results_url": None}
    strange = {"id": "../x", "results_url": "https://elsewhere.example"}
    assert (await read(rig, "/v1/messages/batches/msgbatch_1", strange)).json["results_url"] is None
    assert (await read(rig, "/v1/messages/batches/msgbatch_1", b"no JSON")).body == b"no JSON"


async def test_also_when_the_answer_comes_in_pieces_and_in_lists() -> None:
    rig = make_rig()
    wider = grant(objects=ObjectAccess.ALL)
    rig.path.replace_policy(bundle(version=2, grants=(wider,)))
    call = await sent(rig, "GET", "/v1/messages/batches")
    body = json.dumps({"data": [linked("msgbatch_1")] * 2, "has_more": False}).encode()
    rig.upstream.head()
    rig.upstream.receiver.data_received(body[:90])
    rig.upstream.receiver.data_received(body[90:])
    rig.upstream.receiver.response_complete()
    await ended(call)
    assert call.json == {
        "data": [{**linked("msgbatch_1"), "results_url": OWN}] * 2,
        "has_more": False,
    }
    assert b"anthropic.com" not in call.body


# --- responses in the background ------------------------------------------------------------------

ASKED: dict[str, object] = {
    "model": "gpt-4o",
    "input": "x",
    "background": True,
    "max_output_tokens": 500,
}


async def in_background(rig: CallRig, **answer: object) -> None:
    call = await sent(rig, "POST", "/v1/responses", ASKED)
    rig.upstream.answer({"id": "resp_1", "status": "queued", "usage": None, **answer})
    await ended(call)


async def test_a_response_in_the_background_is_settled_when_it_has_ended() -> None:
    rig = make_rig()
    await in_background(rig)
    charge = rig.link.objects["resp_1"].batch_charge
    assert charge is not None
    assert charge.micro_usd == rig.link.used[BUDGET] > 2 * 500
    going = {"id": "resp_1", "status": "in_progress", "usage": None}
    await read(rig, "/v1/responses/resp_1", going)
    for state in ("failed", "cancelled"):
        await read(rig, "/v1/responses/resp_1", {**going, "status": state})
    assert not rig.link.batches_settled, "what it used is not said"
    await read(rig, "/v1/responses/resp_1", {"id": "resp_1", "status": "completed", "usage": USAGE})
    assert rig.link.batches_settled == [("resp_1", 40)]


async def test_an_answer_that_says_what_it_used_is_charged_at_once() -> None:
    rig = make_rig()
    await in_background(rig, status="completed", usage=USAGE)
    assert rig.link.objects["resp_1"].batch_charge is None
    assert rig.link.used[BUDGET] == 40
    assert rig.link.records[-1].cost == 40


async def test_a_response_that_does_not_go_on_is_not_settled_later() -> None:
    rig = make_rig()
    body = {**ASKED, "background": False}
    call = await sent(rig, "POST", "/v1/responses", body)
    rig.upstream.answer({"id": "resp_1", "status": "completed"})
    await ended(call)
    assert rig.link.objects["resp_1"].batch_charge is None


async def test_who_leaves_a_stream_of_the_background_finds_its_charge_open() -> None:
    rig = make_rig()
    call = await sent(rig, "POST", "/v1/responses", {**ASKED, "stream": True})
    created = {"type": "response.created", "response": {"id": "resp_1", "status": "queued"}}
    rig.upstream.stream(b"data: " + json.dumps(created).encode() + b"\n\n", complete=False)
    call.handler.client_gone()
    await eventually(lambda: "resp_1" in rig.link.objects)
    charge = rig.link.objects["resp_1"].batch_charge
    assert charge is not None
    assert charge.micro_usd == rig.link.used[BUDGET]
    await read(
        rig, "/v1/responses/resp_1", {"id": "resp_1", "status": "incomplete", "usage": USAGE}
    )
    assert rig.link.batches_settled == [("resp_1", 40)]
