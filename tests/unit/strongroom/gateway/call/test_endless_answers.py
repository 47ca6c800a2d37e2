"""Upstreams that answer without an end, or in a form that only some readers take apart."""

from __future__ import annotations

import json

import pytest
from tests.support.call_rig import CallRig
from tests.support.eventually import eventually

from keylease.strongroom.gateway.call.attempt import HELD_AT_MOST
from keylease.strongroom.gateway.call.objects import StreamedNames

EVENT = b"data: " + json.dumps({"type": "response.created", "response": {"id": "resp_1"}}).encode()


async def test_an_answer_that_is_held_has_an_end() -> None:
    rig = CallRig()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o-mini", "input": "hi"})
    await eventually(lambda: bool(rig.calls))
    rig.upstream.head()
    piece = b" " * (1024 * 1024)  # one and the same, so that all of it takes no more memory
    for _ in range(HELD_AT_MOST // len(piece)):
        rig.upstream.receiver.data_received(piece)
    at_the_end = rig.upstream.cancelled
    rig.upstream.receiver.data_received(b" ")
    assert (at_the_end, rig.upstream.cancelled) == (False, True)
    assert (call.status, call.code) == (502, "upstream_broken")
    assert call.headers["x-should-retry"] == "false"
    [record] = rig.link.records
    assert (record.status, record.estimated) == (502, True)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_names_are_read_however_a_stream_is_cut(end: bytes, size: int) -> None:
    names = StreamedNames()
    stream = b"\xef\xbb\xbfevent: response.created" + end[: len(end) // 2] + EVENT + end + b":\n"
    for position in range(0, len(stream), size):
        names.feed(stream[position : position + size])
    assert list(names.found) == ["resp_1"]


def test_a_long_event_is_not_searched_again_for_every_piece() -> None:
    names = StreamedNames()
    names.feed(b'data: {"type":"response.image","partial":"')
    for _ in range(4096):  # 16 MiB; looking at all of it for each piece would take minutes
        names.feed(b"A" * 4096)
    names.feed(b'"}\n\n' + EVENT + b"\n\n")
    assert list(names.found) == ["resp_1"]
