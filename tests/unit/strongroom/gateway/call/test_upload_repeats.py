"""An upload that is sent once more: after a 401, or where nobody was reached."""

from __future__ import annotations

import pytest
from tests.support.call_rig import CallRig, Sent, bundle, credential, route
from tests.support.eventually import eventually

from keylease.contracts.policy import Target
from keylease.strongroom.gateway.call.listener import Listener
from keylease.strongroom.gateway.call.upload import KEPT_TOGETHER, KeptUploads

FORM = (b"content-type", b"multipart/form-data; boundary=b")
FIRST = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
REST = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n'
END = b"--b--\r\n"


def begin(rig: CallRig) -> Sent:
    size = len(FIRST + REST + END)
    return rig.open("POST", "/v1/files", headers=[FORM], length=size, has_body=True)


def finish(call: Sent, *pieces: bytes) -> None:
    for piece in pieces:
        call.handler.body_received(piece)
    call.handler.request_complete()


def rotate(rig: CallRig) -> bytes:
    fresh = b"sk-test-rotated-0123456789"
    rig.link.store("cred-openai", fresh, version="2")
    return fresh


async def test_an_upload_that_meets_a_401_at_its_end_is_sent_again_once() -> None:
    rig = CallRig()
    call = begin(rig)
    finish(call, FIRST, REST, END)
    first = rig.upstream
    assert b"".join(first.written) == FIRST + REST + END
    fresh = rotate(rig)
    first.answer(b"{}", 401)
    await eventually(lambda: len(rig.calls) == 2)
    again = rig.upstream
    assert b"".join(again.written) == FIRST + REST + END
    assert again.finished
    assert again.content_length == first.content_length
    assert again.headers["authorization"] == f"Bearer {fresh.decode()}"
    again.answer({"id": "file-1"})
    await eventually(lambda: call.finished)
    assert call.status == 200
    assert rig.link.objects["file-1"].principal == "user:ada"
    [record] = rig.link.records
    assert (record.retries, record.credential_version) == (1, "2")


async def test_an_upload_that_meets_a_401_half_way_goes_on_with_the_fresh_secret() -> None:
    rig = CallRig()
    call = begin(rig)
    call.handler.body_received(FIRST)
    rotate(rig)
    rig.upstream.answer(b"{}", 401)
    assert rig.calls[0].cancelled, "its connection carries half a body"
    held = call.reading_paused
    call.handler.body_received(REST)
    await eventually(lambda: len(rig.calls) == 2)
    assert (held, call.reading_paused) == (True, False)
    finish(call, END)
    assert b"".join(rig.upstream.written) == FIRST + REST + END
    assert rig.upstream.finished
    assert FIRST + REST not in b"".join(rig.calls[0].written)


async def test_an_upload_is_sent_again_only_once() -> None:
    rig = CallRig()
    call = begin(rig)
    finish(call, FIRST, REST, END)
    rotate(rig)
    rig.upstream.answer(b"{}", 401)
    await eventually(lambda: len(rig.calls) == 2)
    rig.upstream.answer(b"{}", 401)
    assert (call.status, call.code) == (502, "upstream_refused_credential")
    assert len(rig.calls) == 2


def kept_by(rig: CallRig) -> KeptUploads:
    listener = rig.path.listener
    assert isinstance(listener, Listener)
    return listener._environment.kept_uploads


@pytest.mark.parametrize("bound", ["each", "left"])
async def test_a_longer_upload_is_not_sent_again_and_says_so(bound: str) -> None:
    rig = CallRig()
    setattr(kept_by(rig), bound, len(FIRST))
    call = begin(rig)
    call.handler.body_received(FIRST)
    call.handler.body_received(REST)
    fresh = rotate(rig)
    rig.upstream.answer(b"{}", 401)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (502, "upload_not_repeated")
    assert "x-should-retry" not in call.headers, "the caller's SDK may send it again"
    assert len(rig.calls) == 1
    assert rig.link.records[0].error == "upload_not_repeated"
    again = begin(rig)
    assert rig.upstream.headers["authorization"] == f"Bearer {fresh.decode()}"
    again.handler.client_gone()


async def test_what_uploads_keep_is_given_back_however_they_end() -> None:
    rig = CallRig()
    kept = kept_by(rig)
    answered, left, broken = (begin(rig) for _ in range(3))
    calls = list(rig.calls)
    for call in (answered, left, broken):
        call.handler.body_received(FIRST)
    assert kept.left == KEPT_TOGETHER - sum(len(b"".join(call.written)) for call in calls)
    assert kept.left < KEPT_TOGETHER
    finish(answered, REST, END)
    calls[0].answer({"id": "file-1"})
    left.handler.client_gone()
    calls[2].fail("reset", sent=True)
    await eventually(lambda: answered.finished)
    assert kept.left == KEPT_TOGETHER


async def test_an_upload_that_reached_nobody_goes_to_the_next_target() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(route(targets=(Target(credential_id="a"), Target(credential_id="b"))),),
    )
    rig = CallRig(policy)
    call = begin(rig)
    call.handler.body_received(FIRST)
    rig.upstream.fail("connect", sent=False)
    assert len(rig.calls) == 2
    finish(call, REST, END)
    assert rig.secrets["b"] in rig.upstream.raw_headers
    assert b"".join(rig.upstream.written) == FIRST + REST + END
    assert rig.upstream.finished


async def test_a_slow_upstream_still_holds_the_client_when_the_upload_is_sent_again() -> None:
    rig = CallRig()
    call = begin(rig)
    call.handler.body_received(FIRST)
    rig.upstream.receiver.pause_writing()
    rotate(rig)
    rig.upstream.answer(b"{}", 401)
    await eventually(lambda: len(rig.calls) == 2)
    held = [call.reading_paused]
    rig.upstream.receiver.pause_writing()
    held.append(call.reading_paused)
    rig.upstream.receiver.resume_writing()
    held.append(call.reading_paused)
    assert held == [False, True, False], "it was the first connection that was slow"
