"""A call from its request to its record, with pools that answer by hand."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets

import pytest
from tests.support.call_rig import CHAT_ANSWER, CallRig, binding, bundle, credential, grant, route
from tests.support.eventually import eventually

from keylease.contracts.policy import (
    ContentRecording,
    Limits,
    Revocation,
    RevocationKind,
    Strategy,
    Target,
)
from keylease.errors import SecretInvalid, StoreUnavailable
from keylease.strongroom.configuration import WireLimits
from keylease.strongroom.gateway.call.accounting import Account
from keylease.strongroom.gateway.interfaces import PriceQuote

QUOTE = PriceQuote(
    input=1_000_000, output=2_000_000, cache_read=0, cache_write=0, version="prices-1"
)
"""1 micro-USD for an input token, 2 for an output token."""


def two_targets() -> CallRig:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(route(targets=(Target(credential_id="a"), Target(credential_id="b"))),),
    )
    return CallRig(policy)


# --- the fast path -----------------------------------------------------------------------------


async def test_a_call_leaves_before_the_request_handler_returns() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat()
    assert len(rig.calls) == 1, "no task was needed"
    sent = rig.upstream
    assert (sent.method, sent.target) == ("POST", "/v1/chat/completions")
    assert sent.origin.host == "api.openai.com"
    assert sent.json["model"] == "gpt-4o-mini"
    rig.upstream.answer(CHAT_ANSWER, headers=[(b"x-request-id", b"req_1")])
    assert (call.status, call.json, call.finished) == (200, CHAT_ANSWER, True)
    [record] = rig.link.records
    assert record.id == call.headers["x-request-id"]
    assert call.headers["x-provider-request-id"] == "req_1"
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (9, 3)
    assert (record.cost, record.price_version, record.estimated) == (15, "prices-1", False)
    assert record.provider_request_id == "req_1"
    assert record.response_model == "gpt-4o-mini-2024-07-18"
    assert (record.principal, record.credential_id, record.status) == (
        "user:ada",
        "cred-openai",
        200,
    )
    assert not rig.errors


async def test_only_listed_headers_go_out_and_the_credential_is_added() -> None:
    rig = CallRig()
    body = b'{"model":"gpt-4o-mini","messages":[]}'
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.send(
        "POST",
        "/v1/chat/completions",
        body,
        headers=[
            (b"content-type", b"application/json; charset=utf-8"),
            (b"accept", b"application/json"),
            (b"user-agent", b"OpenAI/Python"),
            (b"openai-beta", b"x=v1"),
            (b"openai-organization", b"org-other"),
            (b"openai-project", b"proj-other"),
            (b"x-api-key", rig.lease),
            (b"api-key", rig.lease),
            (b"cookie", b"a=b"),
            (b"x-forwarded-host", b"evil.example"),
            (b"x-forwarded-for", b"1.2.3.4"),
            (b"x-stainless-lang", b"python"),
            (b"accept-encoding", b"gzip"),
            (b"idempotency-key", b"once"),
        ],
    )
    headers = dict(rig.upstream.headers)
    assert headers.pop("idempotency-key").startswith("keylease-")
    assert headers == {
        "authorization": f"Bearer {rig.secrets['cred-openai'].decode()}",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": "OpenAI/Python",
        "openai-beta": "x=v1",
    }
    assert rig.lease not in rig.upstream.raw_headers
    assert rig.upstream.body == body


async def test_an_idempotency_key_is_the_callers_own() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    keys = []
    for lease in (rig.lease, rig.make_lease(), rig.make_lease(sub="user:eve")):
        body: dict[str, object] = {"model": "gpt-4o-mini"}
        rig.send(
            "POST",
            "/v1/chat/completions",
            body,
            headers=[(b"idempotency-key", b"k"), (b"content-type", b"application/json")],
            lease=lease,
        )
        keys.append(rig.upstream.headers["idempotency-key"])
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "https://evil.example"},
        {"api_base": "https://evil.example", "api_key": "x"},
        {"custom_llm_provider": "x", "host": "evil.example"},
        {"url": "http://169.254.169.254/"},
    ],
)
async def test_nothing_in_a_request_changes_where_it_goes(changes: dict[str, object]) -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    for header in ("x-forwarded-host", "x-original-url", "x-portkey-custom-host", "forwarded"):
        rig.send(
            "POST",
            "/v1/chat/completions",
            {"model": "gpt-4o-mini", **changes},
            headers=[
                (header.encode(), b"https://evil.example/v1"),
                (b"content-type", b"application/json"),
            ],
        )
        assert rig.upstream.origin.host == "api.openai.com"
        assert rig.upstream.target == "/v1/chat/completions"
        assert "evil" not in rig.upstream.raw_headers.decode()


async def test_the_model_is_renamed_for_the_target() -> None:
    rig = CallRig(
        bundle(
            routes=(
                route(
                    models=("fast",),
                    targets=(Target(credential_id="cred-openai", model="gpt-4o-mini"),),
                ),
            )
        )
    )
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.chat("fast", temperature=1.0)
    assert rig.upstream.json["model"] == "gpt-4o-mini"
    assert b'"temperature":1.0' in (rig.upstream.body or b"")
    rig.upstream.answer(CHAT_ANSWER)
    [record] = rig.link.records
    assert (record.requested_model, record.upstream_model) == ("fast", "gpt-4o-mini")


async def test_traceparent_is_honoured_and_a_bad_one_ignored() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    body = b'{"model":"gpt-4o-mini"}'
    for value in (b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"00-" + b"0" * 32 + b"-x-01"):
        rig.send(
            "POST",
            "/v1/chat/completions",
            body,
            headers=[(b"content-type", b"application/json"), (b"traceparent", value)],
        )
        rig.upstream.answer(CHAT_ANSWER)
    good, bad = rig.link.records
    assert (good.trace_id, good.parent_span_id) == ("a" * 32, "b" * 16)
    assert len(bad.trace_id) == 32
    assert bad.trace_id != "0" * 32
    assert not bad.parent_span_id


# --- streams -----------------------------------------------------------------------------------


async def test_a_stream_passes_chunk_for_chunk() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat(stream=True, stream_options={"include_usage": True})
    chunks = [b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', b"data: [DONE]\n\n"]
    rig.upstream.stream(*chunks)
    assert call.pieces == chunks
    assert call.content_length is None
    assert call.finished
    assert rig.link.records[0].streamed


async def test_usage_is_asked_for_when_the_caller_did_not() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.chat(stream=True)
    assert rig.upstream.json["stream_options"] == {"include_usage": True}
    rig.chat(stream=False)
    assert "stream_options" not in rig.upstream.json


async def test_back_pressure_reaches_the_upstream() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat(stream=True)
    call.handler.pause_writing()
    assert rig.upstream.reading_paused
    call.handler.resume_writing()
    assert not rig.upstream.reading_paused


async def test_a_reset_in_mid_stream_breaks_the_clients_connection() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    call = rig.chat(stream=True)
    rig.upstream.stream(b"data: {}\n\n", complete=False)
    rig.upstream.fail("reset", sent=True)
    assert call.aborted
    assert not call.finished
    [record] = rig.link.records
    assert (record.error, record.estimated) == ("upstream_broken", True)


# --- what an upstream may not do ---------------------------------------------------------------


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


# --- retries -----------------------------------------------------------------------------------


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


# --- the slow path -----------------------------------------------------------------------------


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


# --- the client leaves -------------------------------------------------------------------------


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


# --- limits ------------------------------------------------------------------------------------


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


# --- revocation and purpose --------------------------------------------------------------------


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


# --- sizes and bodies --------------------------------------------------------------------------


async def test_bodies_over_the_limit_are_refused_before_they_are_whole() -> None:
    rig = CallRig(limits=WireLimits(body_bytes=100))
    announced = rig.open(
        "POST", "/v1/chat/completions", headers=[(b"content-type", b"application/json")],
        length=101, has_body=True,
    )  # fmt: skip
    assert (announced.status, announced.code) == (413, "request_too_large")
    chunked = rig.open(
        "POST",
        "/v1/chat/completions",
        headers=[(b"content-type", b"application/json")],
        has_body=True,
    )
    chunked.handler.body_received(b"x" * 60)
    before = chunked.status
    chunked.handler.body_received(b"x" * 60)
    assert (before, chunked.status) == (0, 413)
    chunked.handler.body_received(b"x" * 60)
    chunked.handler.request_complete()
    assert len(rig.link.records) == 2


@pytest.mark.parametrize(
    "body", [b'{"model":"gpt-4","model":"o1"}', b"[1]", b"{", b'{"messages":[]}', b'{"model":7}']
)
async def test_a_bad_body_reaches_nobody_and_is_recorded(body: bytes) -> None:
    rig = CallRig()
    call = rig.send("POST", "/v1/chat/completions", body)
    assert (call.status, call.code) == (400, "request_malformed")
    assert not rig.calls
    [record] = rig.link.records
    assert (record.status, record.error) == (400, "request_malformed")


async def test_a_defect_of_ours_still_answers_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = CallRig(warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("internal detail")

    monkeypatch.setattr(rig.link, "credential", broken)
    call = rig.chat()
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (500, "internal")
    assert b"internal detail" not in call.body
    assert isinstance(rig.errors[0], ZeroDivisionError)


async def test_a_defect_on_the_fast_path_is_recorded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = CallRig()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("internal detail")

    monkeypatch.setattr(rig.link, "try_price", broken)
    with pytest.raises(ZeroDivisionError):  # the server reports it
        rig.chat()
    [record] = rig.link.records
    assert (record.status, record.error) == (500, "internal")


async def test_calls_leave_no_circles_of_references() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE

    def every_end() -> None:
        calls = [rig.chat()]
        rig.upstream.answer(CHAT_ANSWER)
        calls.append(rig.chat(stream=True))
        rig.upstream.stream(b"data: {}\n\n", b"data: [DONE]\n\n")
        calls.append(rig.chat())
        rig.upstream.fail("connect", sent=False)
        calls.append(rig.chat(stream=True))
        calls[-1].handler.client_gone()
        for call in calls:
            del call.handler  # as the server does at the end of an answer
        rig.calls.clear()
        rig.link.records.clear()

    every_end()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            every_end()
        left = [found for found in _circles() if isinstance(found, Account)]
    finally:
        gc.enable()
    # An account is what every end of a call refers to; another test's may be freed here as well.
    assert not [account for account in left if account._link is rig.link]


def _circles() -> list[object]:
    """What only the collector could have freed."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def test_closing_ends_what_waits() -> None:
    rig = CallRig(warm=False)
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    rig.link.fetch_gate = asyncio.Event()
    call = rig.chat()
    await asyncio.sleep(0.01)
    await rig.path.close()
    assert call.status == 500
    assert all(pool.closed for pool in rig.pools)


async def test_a_form_is_read_for_its_model() -> None:
    rig = CallRig(bundle(routes=(route(models=("whisper-1", "dall-e-2")),)))
    rig.link.prices["openai", "whisper-1"] = QUOTE
    rig.link.prices["openai", "dall-e-2"] = QUOTE
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n'
        b"--b--\r\n"
    )
    form = (b"content-type", b"multipart/form-data; boundary=b")
    call = rig.send("POST", "/v1/audio/transcriptions", body, headers=[form])
    assert rig.upstream.body == body
    assert rig.upstream.headers["content-type"] == form[1].decode()
    rig.upstream.answer({"text": "hello"})
    assert json.loads(call.body) == {"text": "hello"}
    refused = rig.send(
        "POST", "/v1/audio/transcriptions", body.replace(b"whisper-1", b"gpt-9"), headers=[form]
    )
    assert refused.code == "model_not_allowed"
    without = body[body.index(b"--b\r\n", 5) :]
    rig.send("POST", "/v1/images/edits", without, headers=[form])
    assert b'name="model"\r\n\r\ndall-e-2\r\n' in (rig.upstream.body or b"")
