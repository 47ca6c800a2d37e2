"""Events come out the same however the bytes were cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cuts import pieces

from keylease.strongroom.gateway.metering.sse import SseEvent, SseSplitter


class Collector:
    def __init__(self) -> None:
        self.data = b""

    def feed(self, chunk: bytes) -> None:
        self.data += chunk


def split(data: bytes, cuts: list[int], *, limit: int = 4096) -> list[tuple[bytes, bytes]]:
    splitter = SseSplitter(limit=limit, new_sink=Collector)
    events: list[SseEvent] = []
    for piece in pieces(data, cuts):
        events += splitter.feed(piece)
    return [
        (event.name, event.sink.data if isinstance(event.sink, Collector) else event.data)
        for event in events
    ]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"event: x\ndata: a\ndata: b\n\n", [(b"x", b"a\nb")]),
        (b": comment\n\ndata:  two spaces\n\n", [(b"", b" two spaces")]),
        (b"data\n\n", [(b"", b"")]),
        (b"event: x\n\n", []),
        (b"id: 1\nretry: 5\nunknown: x\ndata: a\n\n", [(b"", b"a")]),
        (b"data: never ended\n", []),
        (b"data: a\vb\fc\x1c\x85\xe2\x80\xa8d\n\n", [(b"", b"a\vb\fc\x1c\x85\xe2\x80\xa8d")]),
        (b"\n\n\ndata: a\n\n\n", [(b"", b"a")]),
        (b"data: a\nevent: late\n\ndata: b\n\n", [(b"late", b"a"), (b"", b"b")]),
    ],
)
@given(cuts=st.lists(st.integers(0, 100), max_size=8))
@settings(max_examples=25)
def test_known_streams(stream: bytes, events: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    assert split(stream, cuts) == events


PIECES = st.sampled_from(
    [b"data: ", b"data:", b"event: e", b":c", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"\xef\xbb\xbf",
     b"id: 1", b"long" * 40, b"{}", b" "]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30), st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=500, deadline=None)
def test_cuts_change_nothing(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    assert split(data, cuts) == split(data, [])
    assert split(data, list(range(len(data)))) == split(data, [])


@given(st.lists(PIECES, max_size=30), st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=500, deadline=None)
def test_a_low_limit_moves_data_into_the_sink_and_changes_nothing_else(
    parts: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(parts)
    # Names of events on lines over the limit are lost; nothing else is.
    assert [d for _, d in split(data, cuts, limit=64)] == [d for _, d in split(data, [])]


@pytest.mark.parametrize("nothing", [[], [b""], [b"", b""]])
def test_empty_pieces_do_not_part_cr_from_lf(nothing: list[bytes]) -> None:
    splitter = SseSplitter(limit=4096)
    events: list[SseEvent] = []
    for piece in (b"data: a\r", *nothing, b"\ndata: b\r", *nothing, b"\n\r", *nothing, b"\n"):
        events += splitter.feed(piece)
    assert [event.data for event in events] == [b"a\nb"]


def test_memory_stays_bounded_without_a_sink() -> None:
    splitter = SseSplitter(limit=1000)
    assert splitter.feed(b"data: ") == []
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
        assert sum(map(len, splitter._line)) <= 2000
        assert sum(map(len, splitter._data)) <= 2000
    (event,) = splitter.feed(b"\n\ndata: after\n\n")
    assert (event.name, event.data) == (b"", b"after")


def test_many_lines_of_one_event_are_bounded_too() -> None:
    splitter = SseSplitter(limit=1000)
    for _ in range(1000):
        splitter.feed(b"data: " + b"x" * 100 + b"\n")
        assert sum(map(len, splitter._data)) <= 2000
    assert splitter.feed(b"\n") == []
    assert splitter.idle


def test_idle_means_between_events() -> None:
    splitter = SseSplitter()
    idle = [splitter.idle]
    for piece in (b"data: a\n", b"\n", b"d"):
        splitter.feed(piece)
        idle.append(splitter.idle)
    assert idle == [True, False, True, False]
