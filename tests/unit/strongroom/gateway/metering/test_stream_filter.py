"""Exactly the extra usage event is removed; everything else passes as it came and in time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cuts import pieces

from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.stream_filter import MAXIMUM_HELD, StreamFilter

CUTS = st.lists(st.integers(0, 3000), max_size=14)


def event(**members: object) -> bytes:
    document = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", **members}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


WORD = event(choices=[{"index": 0, "delta": {"content": 'x "choices": [] "usage": {'}}], usage=None)
END = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
EXTRA = event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
AZURE = event(choices=[], prompt_filter_results=[{"prompt_index": 0}])
AZURE_NULL = event(choices=[], usage=None)
COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
NAMED = b"event: chunk\nid: 7\n" + WORD
OTHERS = [WORD, END, AZURE, AZURE_NULL, COMMENT, DONE, NAMED, b"\n", b"data: not json\n\n"]


def run(data: bytes, cuts: list[int]) -> bytes:
    stream = StreamFilter(WireFormat.OPENAI)
    return b"".join([*(stream.feed(piece) for piece in pieces(data, cuts)), stream.finish()])


@given(st.lists(st.sampled_from([*OTHERS, EXTRA]), max_size=10), CUTS)
@settings(max_examples=400, deadline=None)
def test_everything_but_the_extra_event_passes_unchanged(
    events: list[bytes], cuts: list[int]
) -> None:
    expected = b"".join(item for item in events if item != EXTRA)
    data = b"".join(events)
    assert run(data, cuts) == expected
    assert run(data, list(range(len(data)))) == expected


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
@given(st.lists(st.sampled_from([*OTHERS, EXTRA]), max_size=6), CUTS)
@settings(max_examples=150, deadline=None)
def test_other_line_ends(newline: bytes, events: list[bytes], cuts: list[int]) -> None:
    data = b"".join(events).replace(b"\n", newline)
    expected = b"".join(item for item in events if item != EXTRA).replace(b"\n", newline)
    found = run(data, cuts)
    # A CRLF that was cut in two may leave its LF behind: an empty line between events.
    assert found.split() == expected.split()
    assert b'"prompt_tokens"' not in found


@given(st.lists(st.sampled_from(OTHERS), min_size=1, max_size=8))
def test_chunks_are_preserved_one_to_one(events: list[bytes]) -> None:
    stream = StreamFilter(WireFormat.OPENAI)
    assert [stream.feed(item) for item in events] == events
    assert stream.finish() == b""


def test_part_of_an_event_passes_as_soon_as_it_cannot_be_the_extra_one() -> None:
    stream = StreamFilter(WireFormat.OPENAI)
    place = WORD.index(b'"choices": [') + len(b'"choices": [')
    assert stream.feed(WORD[:place]) == b""
    assert stream.feed(WORD[place : place + 1]) == WORD[: place + 1]
    assert stream.feed(WORD[place + 1 : place + 9]) == WORD[place + 1 : place + 9]
    assert stream.feed(WORD[place + 9 :]) == WORD[place + 9 :]
    assert stream.feed(EXTRA[:50]) == b""
    assert stream.feed(EXTRA[50:] + DONE) == DONE


@pytest.mark.parametrize("comment", [b": ping\n", b":\n", b"\n", b": a\n: b\n"])
def test_comments_keep_connections_alive_without_waiting(comment: bytes) -> None:
    stream = StreamFilter(WireFormat.OPENAI)
    assert stream.feed(comment) == comment
    assert stream.feed(EXTRA) == b""
    assert stream.feed(WORD) == WORD


def test_an_extra_event_without_its_empty_line_at_the_end_is_removed_too() -> None:
    assert run(WORD + EXTRA.rstrip(b"\n"), []) == WORD


def test_what_was_held_at_the_end_and_is_something_else_passes() -> None:
    assert run(WORD + b'data: {"id": "c', []) == WORD + b'data: {"id": "c'


def test_little_is_held_whatever_comes() -> None:
    stream = StreamFilter(WireFormat.OPENAI)
    passed = b"".join(stream.feed(b"x" * 1000) for _ in range(100))
    assert len(passed) >= 100_000 - MAXIMUM_HELD
    assert len(stream._held) <= MAXIMUM_HELD


def test_anthropic_streams_pass_untouched() -> None:
    stream = StreamFilter(WireFormat.ANTHROPIC)
    assert [stream.feed(EXTRA[:9]), stream.feed(EXTRA[9:])] == [EXTRA[:9], EXTRA[9:]]
    assert stream.finish() == b""


@given(st.lists(st.binary(max_size=60), max_size=10))
@settings(max_examples=200)
def test_arbitrary_bytes_pass(chunks: list[bytes]) -> None:
    stream = StreamFilter(WireFormat.OPENAI)
    passed = b"".join([*(stream.feed(chunk) for chunk in chunks), stream.finish()])
    assert passed == b"".join(chunks)
