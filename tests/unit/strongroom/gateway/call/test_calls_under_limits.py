"""Calls that draw from limits, leave early, or meet a revocation."""

from __future__ import annotations

import asyncio

from tests.support.answered_calls import QUOTE, two_targets
from tests.support.call_rig import CHAT_ANSWER, CallRig, binding, bundle, credential, grant, route
from tests.support.eventually import eventually

from keylease.contracts.policy import Limits, Revocation, RevocationKind, Strategy, Target

# --- the client leaves ---------------------------------------------------------------------------


async def test_a_client_that_leaves_cancels_the_upstream_and_pays_an_estimate() -> None:
    policy = bundle(grants=(grant(limits=Limits(tokens_per_minute=1_000_000)),))
    rig = CallRig(policy)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat(stream=True)
    rig.upstream.stream(b'data: {"choices":[]}\n\n' * 4, complete=False)
    call.handler.client_gone()
    assert rig.upstream.cancelled
    [record] = rig.link.records
    assert record.client_gone
    assert record.estimated
    assert record.usage is not None
    assert record.usage.input_tokens > 0
    [(_, used)] = rig.link.settled
    assert used == (record.usage.input_tokens + record.usage.output_tokens,)
    rig.upstream.receiver.data_received(b"late")
    rig.upstream.receiver.response_complete()
    assert len(rig.link.records) == 1


# --- limits --------------------------------------------------------------------------------------


def limited(**limits: int) -> CallRig:
    rig = CallRig(bundle(grants=(grant(limits=Limits(**limits)),)))  # type: ignore[arg-type]  # all are int
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    return rig


async def test_what_a_call_may_use_is_set_aside_and_settled_with_what_it_used() -> None:
    rig = limited(requests_per_minute=5, tokens_per_minute=100_000, budget_micro_usd=1_000_000)
    rig.chat(max_tokens=50)
    [hold] = rig.link.live_holds
    assert [demand.capacity for demand in hold.demands] == [5, 100_000, 1_000_000]
    assert hold.demands[0].amount == 1
    assert hold.demands[1].amount >= 12
    assert hold.demands[2].amount >= 15
    rig.upstream.answer(CHAT_ANSWER)
    assert rig.link.settled == [(hold, (1, 12, 15))]


async def test_a_used_up_limit_is_a_429_with_a_time_to_wait() -> None:
    rig = limited(requests_per_minute=1)
    rig.chat()
    refused = rig.chat()
    await eventually(lambda: refused.status)
    assert (refused.status, refused.code) == (429, "limit_reached")
    assert refused.headers["retry-after"] == "7"
    assert len(rig.calls) == 1
    assert rig.link.records[0].error == "limit_reached"


async def test_a_call_that_was_never_sent_gives_everything_back() -> None:
    rig = limited(requests_per_minute=5, tokens_per_minute=100_000)
    rig.chat()
    rig.upstream.fail("connect", sent=False)
    [(_, used)] = rig.link.settled
    assert used == (0, 0)


async def test_an_error_of_the_provider_costs_a_request_and_nothing_else() -> None:
    rig = limited(requests_per_minute=5, tokens_per_minute=100_000, budget_micro_usd=1_000_000)
    rig.chat()
    rig.upstream.answer(b"{}", 429)
    [(_, used)] = rig.link.settled
    assert used == (1, 0, 0)


async def test_slices_that_are_empty_are_waited_for() -> None:
    rig = limited(requests_per_minute=5)
    rig.link.slices = False
    call = rig.chat()
    assert not rig.calls
    await eventually(lambda: rig.calls)
    rig.upstream.answer(CHAT_ANSWER)
    assert call.status == 200


async def test_what_is_set_aside_for_a_client_that_left_meanwhile_goes_back() -> None:
    rig = limited(requests_per_minute=5)
    rig.link.slices = False
    call = rig.chat()
    call.handler.client_gone()
    await eventually(lambda: rig.link.settled)
    assert rig.link.live_holds == []
    assert set(rig.link.used.values()) == {0}
    assert not rig.calls
    assert len(rig.link.records) == 1


async def test_the_next_target_draws_from_the_limits_anew() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(route(targets=(Target(credential_id="a"), Target(credential_id="b"))),),
        grants=(grant(limits=Limits(requests_per_minute=1)),),
    )
    rig = CallRig(policy)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.calls[0].fail("connect", sent=False)
    rig.calls[1].answer(CHAT_ANSWER)
    assert call.status == 200
    assert [used for _, used in rig.link.settled] == [(0,), (1,)]
    assert rig.link.live_holds == []


async def test_a_budget_cannot_hold_a_model_without_a_price() -> None:
    rig = limited(budget_micro_usd=1_000_000)
    rig.link.prices.clear()
    call = rig.chat()
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (403, "access_denied")
    assert "price" in call.body.decode()
    assert not rig.calls


async def test_a_bindings_daily_maximum_holds_for_everybody() -> None:
    rig = CallRig(bindings=(binding(maximum_micro_usd_per_day=3),))
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    await eventually(lambda: call.status)
    assert call.status == 429
    assert not rig.calls


async def test_a_price_is_asked_for_once_also_when_there_is_none() -> None:
    rig = CallRig()
    for _ in range(3):
        call = rig.chat()
        await eventually(lambda: rig.calls)
        rig.upstream.answer(CHAT_ANSWER)
        assert call.status == 200
        rig.calls.clear()
    assert rig.link.priced == [("openai", "gpt-4o-mini")]
    assert [record.cost for record in rig.link.records] == [None] * 3
    rig.clock.advance(301)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.chat()
    await eventually(lambda: rig.calls)
    rig.upstream.answer(CHAT_ANSWER)
    assert rig.link.records[-1].cost == 15


# --- revocation and purpose ----------------------------------------------------------------------


async def test_a_revocation_counts_from_the_next_request_on() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.chat()
    rig.upstream.answer(CHAT_ANSWER)
    rig.revocations.apply(
        Revocation(kind=RevocationKind.PRINCIPAL, value="user:ada", at=rig.clock.now())
    )
    refused = rig.chat()
    assert (refused.status, refused.code) == (401, "lease_revoked")
    assert len(rig.link.records) == 1, "a refused lease is no call"


async def test_a_revoked_credential_is_passed_over() -> None:
    rig = two_targets()
    rig.revocations.apply(Revocation(kind=RevocationKind.CREDENTIAL, value="a", at=0))
    rig.chat()
    await eventually(lambda: rig.calls)
    assert rig.upstream.headers["authorization"].endswith(rig.secrets["b"].decode())
    rig.revocations.apply(Revocation(kind=RevocationKind.CREDENTIAL, value="b", at=0))
    assert rig.chat().code == "lease_revoked"


async def test_a_credential_that_is_revoked_while_it_is_fetched_is_not_used() -> None:
    rig = CallRig(warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.link.fetch_gate = asyncio.Event()
    call = rig.chat()
    await asyncio.sleep(0.01)
    rig.revocations.apply(Revocation(kind=RevocationKind.CREDENTIAL, value="cred-openai", at=0))
    rig.link.fetch_gate.set()
    await eventually(lambda: call.status)
    assert call.code == "lease_revoked"
    assert not rig.calls


async def test_weighted_routes_follow_the_injected_numbers() -> None:
    numbers = iter([0.0, 0.9])
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(
            route(
                strategy=Strategy.WEIGHTED,
                targets=(Target(credential_id="a"), Target(credential_id="b")),
            ),
        ),
    )
    rig = CallRig(policy, uniform=lambda: next(numbers, 0.5))
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.chat()
    rig.chat()
    first, second = (call.headers["authorization"] for call in rig.calls)
    assert first.endswith(rig.secrets["a"].decode())
    assert second.endswith(rig.secrets["b"].decode())
