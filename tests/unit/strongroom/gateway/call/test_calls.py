"""A call from its request to its record, with pools that answer by hand."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from tests.support.answered_calls import QUOTE
from tests.support.call_rig import CHAT_ANSWER, CallRig, bundle, route
from tests.support.eventually import eventually

from keylease.contracts.policy import Target
from keylease.strongroom.configuration import WireLimits
from keylease.strongroom.gateway.call.accounting import Account

# --- the fast path -------------------------------------------------------------------------------


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


# --- streams -------------------------------------------------------------------------------------


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


# --- sizes and bodies ----------------------------------------------------------------------------


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
