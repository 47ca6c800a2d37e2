"""Calls whose upstream or secret store does not do what it should."""

from __future__ import annotations

import asyncio
import json
import secrets

import pytest
from tests.support.answered_calls import QUOTE, two_targets
from tests.support.call_rig import CHAT_ANSWER, CallRig, bundle, grant, route
from tests.support.eventually import eventually

from keylease.contracts.policy import ContentRecording, Limits
from keylease.errors import SecretInvalid, StoreUnavailable

# --- what an upstream may not do -----------------------------------------------------------------


async def test_the_credential_never_passes_back_in_a_body() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    secret = rig.secrets["cred-openai"]
    call = rig.chat()
    rig.upstream.answer(b'{"debug":"' + secret + b'"}')
    assert (call.status, call.code) == (502, "credential_echoed")
    assert secret not in call.body
    assert rig.link.echoes == [("cred-openai", call.headers["x-request-id"])]
    assert rig.link.records[0].error == "credential_echoed"


async def test_the_credential_never_passes_back_in_a_header() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b"{}", headers=[(b"x-ratelimit-debug", b"x" + rig.secrets["cred-openai"])])
    assert call.code == "credential_echoed"
    assert rig.secrets["cred-openai"].decode() not in str(call.headers)
    assert rig.upstream.cancelled


async def test_the_credential_never_passes_back_in_the_name_of_a_header() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b"{}", headers=[(b"x-ratelimit-" + rig.secrets["cred-openai"], b"1")])
    assert call.code == "credential_echoed"
    assert rig.secrets["cred-openai"].decode() not in str(call.headers)


async def test_an_echo_in_mid_stream_cuts_the_connection() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    secret = rig.secrets["cred-openai"]
    call = rig.chat(stream=True, stream_options={"include_usage": True})
    rig.upstream.head(content_type=b"text/event-stream")
    receiver = rig.upstream.receiver
    receiver.data_received(b"data: {}\n\n")
    receiver.data_received(b"data: " + secret[:20])
    receiver.data_received(secret[20:] + b"\n\n")
    assert call.pieces == [b"data: {}\n\n", b"data: "]
    assert call.aborted
    assert rig.upstream.cancelled
    receiver.data_received(b"more")
    receiver.response_complete()
    assert len(rig.link.records) == 1
    assert len(rig.link.echoes) == 1


async def test_response_headers_pass_an_allow_list() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(
        CHAT_ANSWER,
        headers=[
            (b"x-ratelimit-remaining-requests", b"99"),
            (b"openai-processing-ms", b"12"),
            (b"openai-organization", b"org-secret"),
            (b"set-cookie", b"a=b"),
            (b"location", b"https://evil.example"),
            (b"server", b"cloudflare"),
            (b"cf-ray", b"x"),
            (b"alt-svc", b"h3"),
            (b"strict-transport-security", b"x"),
            (b"x-request-id", b"req_9"),
        ],
    )
    assert set(call.headers) == {
        "x-request-id",
        "x-provider-request-id",
        "content-type",
        "x-ratelimit-remaining-requests",
        "openai-processing-ms",
    }


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_redirects_are_never_followed_nor_passed(status: int) -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b"", status, headers=[(b"location", b"https://evil.example")])
    assert (call.status, call.code) == (502, "upstream_broken")
    assert "evil" not in call.body.decode() + str(call.headers)
    assert len(rig.calls) == 1
    assert rig.link.records[0].usage is None


async def test_a_403_is_replaced() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b'{"error":"project proj_123 of org-456"}', 403)
    assert (call.status, call.code) == (403, "upstream_denied")
    assert b"proj_123" not in call.body
    assert rig.link.records[0].status == 403


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503, 529])
async def test_other_errors_of_the_provider_pass(status: int) -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b'{"error":{"message":"theirs"}}', status, headers=[(b"retry-after", b"3")])
    assert (call.status, call.body) == (status, b'{"error":{"message":"theirs"}}')
    assert call.headers["retry-after"] == "3"
    [record] = rig.link.records
    assert (record.status, record.usage, record.cost, record.estimated) == (
        status,
        None,
        None,
        False,
    )


async def test_an_encoded_answer_is_refused() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b"\x1f\x8b", headers=[(b"content-encoding", b"gzip")])
    assert (call.status, call.code) == (502, "upstream_broken")


# --- retries -------------------------------------------------------------------------------------


async def test_the_next_target_is_tried_only_when_nothing_was_sent() -> None:
    rig = two_targets()
    call = rig.chat()
    await eventually(lambda: rig.calls)
    rig.calls[0].fail("connect", sent=False)
    await eventually(lambda: len(rig.calls) == 2)
    assert rig.calls[1].headers["authorization"].endswith(rig.secrets["b"].decode())
    rig.calls[1].answer(CHAT_ANSWER)
    assert call.status == 200
    [record] = rig.link.records
    assert (record.retries, record.credential_id) == (1, "b")


async def test_an_unknown_outcome_is_never_sent_again() -> None:
    rig = two_targets()
    call = rig.chat()
    await eventually(lambda: rig.calls)
    rig.calls[0].fail("reset", sent=True)
    assert (call.status, call.code) == (502, "upstream_broken")
    assert call.headers["x-should-retry"] == "false"
    await asyncio.sleep(0)
    assert len(rig.calls) == 1
    [record] = rig.link.records
    assert record.estimated
    assert record.usage is not None


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("connect", 502, "upstream_unreachable"),
        ("tls", 502, "upstream_unreachable"),
        ("pool_full", 502, "upstream_unreachable"),
        ("address", 502, "egress_refused"),
        ("timeout", 504, "upstream_timed_out"),
        ("protocol", 502, "upstream_broken"),
    ],
)
async def test_failures_have_clear_errors_without_internals(
    kind: str, status: int, code: str
) -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.fail(kind, sent=False)
    assert (call.status, call.code) == (status, code)
    assert b"a detail for the log" not in call.body
    [record] = rig.link.records
    assert (record.error, record.usage, record.estimated) == (code, None, False)


async def test_a_401_leads_to_one_fresh_fetch_and_one_retry() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    old = rig.upstream.headers["authorization"]
    rig.link.store("cred-openai", b"sk-test-rotated-0123456789", version="2")
    rig.upstream.answer(b'{"error":"bad key sk-test"}', 401)
    await eventually(lambda: len(rig.calls) == 2)
    assert rig.upstream.headers["authorization"] == "Bearer sk-test-rotated-0123456789" != old
    assert rig.calls[0].body == rig.calls[1].body
    rig.upstream.answer(CHAT_ANSWER)
    assert call.status == 200
    [record] = rig.link.records
    assert (record.retries, record.credential_version) == (1, "2")
    assert len(rig.link.fetches) == 1


async def test_a_second_401_is_replaced_by_an_error_of_ours() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.upstream.answer(b'{"error":"bad key sk-test-***1234"}', 401)
    await eventually(lambda: len(rig.calls) == 2)
    rig.upstream.answer(b'{"error":"bad key sk-test-***1234"}', 401)
    assert (call.status, call.code) == (502, "upstream_refused_credential")
    assert b"1234" not in call.body
    assert len(rig.link.fetches) == 1
    assert len(rig.link.records) == 1


@pytest.mark.parametrize("prefix", ["sk-proj-", "sk-ant-api03-", "kll_eyJ"])
def test_a_key_in_the_place_of_the_model_is_not_recorded(prefix: str) -> None:
    pasted = prefix + secrets.token_hex(20)
    rig = CallRig(bundle(routes=(route(models=("*",)),)))
    rig.link.prices["openai", pasted] = QUOTE
    rig.chat(pasted)
    rig.upstream.answer({**CHAT_ANSWER, "model": pasted})
    [record] = rig.link.records
    assert pasted not in repr(record)
    assert record.requested_model.startswith("[secret:")


@pytest.mark.parametrize("streamed", [False, True])
def test_the_credential_is_not_recorded_whatever_the_provider_does_with_it(
    *, streamed: bool
) -> None:
    """Escaped, or over several events: forms in which it passes the echo guard."""
    rig = CallRig(bundle(grants=(grant(content=ContentRecording.MASKED),)))
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    key = "corp." + secrets.token_hex(20)  # of a form that no detector knows
    rig.link.store("cred-openai", key.encode())
    rig.link.warm()
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    rig.chat(stream=streamed, user="me", messages=[{"role": "user", "content": f"is {key} fine?"}])
    if streamed:
        pieces = [b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % c.encode()
                  for c in key]  # fmt: skip
        rig.upstream.stream(*pieces, b"data: [DONE]\n\n")
    else:
        body = json.dumps(CHAT_ANSWER).replace("gpt-4o-mini-2024-07-18", escaped)
        rig.upstream.answer(body.replace("Hello", f"It is {escaped}.").encode())
    [record] = rig.link.records
    assert key not in repr(record)
    assert record.input is not None
    assert "[secret:credential]" in record.input
    assert record.output is not None
    assert "[secret:credential]" in record.output
    assert record.response_model == ""


async def test_a_refused_model_is_named_in_the_record() -> None:
    rig = CallRig(bundle(grants=(grant(models=("gpt-4o",)),)))
    call = rig.chat("gpt-4.1")
    assert (call.status, call.code) == (403, "model_not_allowed")
    key = f"sk-proj-{secrets.token_urlsafe(90)}"
    rig.chat(key)
    refused, pasted = rig.link.records
    assert (refused.requested_model, refused.error) == ("gpt-4.1", "model_not_allowed")
    assert refused.upstream_model == ""
    assert key not in pasted.requested_model


async def test_a_fetch_from_before_the_call_is_not_fresh_enough() -> None:
    """Another worker's fetch, made between ours and the rotation, still has the old secret."""
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    held = rig.link.cached["cred-openai"]
    rig.clock.advance(10)
    rig.link.warm()
    newer = rig.link.cached["cred-openai"]
    rig.link.cached["cred-openai"] = held
    rig.clock.advance(10)
    call = rig.chat()
    rig.link.cached["cred-openai"] = newer
    rig.link.store("cred-openai", b"sk-test-rotated-0123456789", version="2")
    rig.upstream.answer(b"{}", 401)
    await eventually(lambda: len(rig.calls) == 2)
    assert rig.upstream.headers["authorization"] == "Bearer sk-test-rotated-0123456789"
    rig.upstream.answer(CHAT_ANSWER)
    assert call.status == 200


async def test_a_401_with_the_store_down_is_an_error_of_ours() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    rig.link.store_error = StoreUnavailable("The store is down.")
    rig.upstream.answer(b"{}", 401)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (502, "upstream_refused_credential")
    assert len(rig.calls) == 1


# --- the slow path -------------------------------------------------------------------------------


async def test_a_cold_credential_is_waited_for_without_holding_up_others() -> None:
    rig = CallRig(warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.link.fetch_gate = asyncio.Event()
    waiting = rig.chat()
    await asyncio.sleep(0.01)
    assert not rig.calls
    rig.link.warm()
    rig.chat()
    assert len(rig.calls) == 1
    rig.link.fetch_gate.set()
    await eventually(lambda: len(rig.calls) == 2)
    rig.upstream.answer(CHAT_ANSWER)
    assert waiting.status == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreUnavailable("The store is down."), 503), (SecretInvalid("Nothing like a key."), 503)],
)
async def test_a_store_that_fails_refuses_the_call(error: StoreUnavailable, status: int) -> None:
    rig = CallRig(warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.link.store_error = error
    call = rig.chat()
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (status, error.code)
    assert rig.link.records[0].error == error.code


@pytest.mark.parametrize("garbage", [b"", b"short", b"sk-test-with space", b"sk-test\r\nx: y"])
async def test_a_secret_that_is_no_header_value_is_never_sent(garbage: bytes) -> None:
    rig = CallRig(warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.link.store("cred-openai", garbage)
    call = rig.chat()
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (503, "secret_invalid")
    assert not rig.calls


async def test_a_client_that_leaves_while_we_wait_is_recorded_and_nothing_is_sent() -> None:
    policy = bundle(grants=(grant(limits=Limits(requests_per_minute=10)),))
    rig = CallRig(policy, warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.link.fetch_gate = asyncio.Event()
    call = rig.chat()
    await asyncio.sleep(0.01)
    call.handler.client_gone()
    rig.link.fetch_gate.set()
    await asyncio.sleep(0.01)
    assert not rig.calls
    [record] = rig.link.records
    assert (record.client_gone, record.status, record.usage) == (True, 499, None)
    assert rig.link.live_holds == []
    assert set(rig.link.used.values()) == {0}
