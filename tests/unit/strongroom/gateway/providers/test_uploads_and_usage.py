"""Uploads stream through within their bounds; usage counts although a client left."""

from __future__ import annotations

import asyncio

from tests.support.call_rig import CHAT_ANSWER
from tests.support.eventually import eventually
from tests.support.surface_kit import rig_with

from keylease.strongroom.configuration import WireLimits

FORM = (b"content-type", b"multipart/form-data; boundary=b")
UPLOADED = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data'
    b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello'
    b"\r\n--b--\r\n"
)


async def test_an_upload_streams_through() -> None:
    rig = rig_with()
    call = rig.open("POST", "/v1/files", headers=[FORM], length=len(UPLOADED), has_body=True)
    sent = rig.upstream
    assert (sent.body, sent.content_length, sent.target) == (None, len(UPLOADED), "/v1/files")
    assert sent.headers["content-type"] == FORM[1].decode()
    call.handler.body_received(UPLOADED[:70])
    assert b"".join(sent.written).endswith(b"user_data"), "as it comes"
    sent.receiver.pause_writing()
    paused = call.reading_paused
    sent.receiver.resume_writing()
    assert (paused, call.reading_paused) == (True, False)
    call.handler.body_received(UPLOADED[70:])
    assert b"".join(sent.written).endswith(b"hello"), "the end waits until all was looked at"
    call.handler.request_complete()
    assert b"".join(sent.written) == UPLOADED
    assert sent.finished
    sent.answer({"id": "file-1"})
    await eventually(lambda: call.finished)
    assert rig.link.objects["file-1"].principal == "user:ada"


async def test_an_upload_waits_for_its_credential_without_being_read() -> None:
    rig = rig_with(None, warm=False)
    call = rig.open("POST", "/v1/files", headers=[FORM], has_body=True)
    paused = call.reading_paused
    call.handler.body_received(UPLOADED)
    await eventually(lambda: rig.calls)
    assert (paused, call.reading_paused) == (True, False)
    assert b"".join(rig.upstream.written).endswith(b"hello")
    before = rig.upstream.finished
    call.handler.request_complete()
    assert (before, rig.upstream.finished) == (False, True)
    assert b"".join(rig.upstream.written) == UPLOADED


async def test_an_upload_over_the_limit_is_cut_off() -> None:
    rig = rig_with(None, limits=WireLimits(upload_bytes=10))
    announced = rig.open("POST", "/v1/files", headers=[FORM], length=11, has_body=True)
    assert announced.status == 413
    assert not rig.calls
    chunked = rig.open("POST", "/v1/files", headers=[FORM], has_body=True)
    chunked.handler.body_received(b"x" * 11)
    assert chunked.status == 413
    assert rig.upstream.cancelled
    assert rig.upstream.written == []


async def test_encoded_uploads_are_refused() -> None:
    rig = rig_with()
    encoded = [FORM, (b"content-encoding", b"gzip")]
    assert rig.open("POST", "/v1/files", headers=encoded, has_body=True).status == 400
    plain = [(b"content-type", b"application/json")]
    assert rig.open("POST", "/v1/files", headers=plain, has_body=True).status == 400


async def test_chat_answers_pass_unchanged_on_both_surfaces() -> None:
    rig = rig_with()
    call = rig.send("POST", "/v1/messages", {"model": "claude-4", "max_tokens": 5})
    rig.upstream.answer(CHAT_ANSWER, headers=[(b"request-id", b"req_1")])
    assert call.json == CHAT_ANSWER
    assert call.headers["request-id"] == "req_1"
    assert rig.link.records[0].provider_request_id == "req_1"


async def test_usage_counts_although_the_client_left_before_the_end_was_sent() -> None:
    rig = rig_with()
    rig.link.object_gate = asyncio.Event()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o"})
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    rig.upstream.answer({"id": "resp_1", "model": "gpt-4o", "usage": usage})
    await asyncio.sleep(0.01)
    call.handler.client_gone()
    rig.link.object_gate.set()
    [record] = rig.link.records
    assert record.usage is not None
    assert (record.usage.output_tokens, record.estimated, record.client_gone) == (3, False, True)
    await eventually(lambda: rig.link.objects)


async def test_a_client_that_leaves_an_error_answer_pays_nothing() -> None:
    rig = rig_with()
    call = rig.chat("gpt-4o")
    rig.upstream.head(500)
    rig.upstream.receiver.data_received(b"{")
    call.handler.client_gone()
    [record] = rig.link.records
    assert (record.status, record.usage, record.estimated) == (500, None, False)
