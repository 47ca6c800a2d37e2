"""Removes from a stream the usage chunk that exists only because the gateway asked for it.

OpenAI ends a chat stream that was asked for usage with one more event, whose ``choices`` is empty
and whose ``usage`` is not null. Everything else passes as it came, chunk for chunk. A chunk that
ends inside an event passes at once as far as it cannot belong to that event; the rest is held
until it can be told, which no client notices: it cannot use half an event either.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.wire import StreamChunk

MAXIMUM_HELD: Final = 16 * 1024
"""Bytes; the extra event has about 400. A longer one is something else and passes."""
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n|\r\n\r(?!\n)|\n\r(?!\n)")
_LONGEST_LOOK_BACK: Final = 3
"""Bytes; one less than the longest end of an event."""
_EMPTY_CHOICES: Final = re.compile(rb'"choices"\s{0,8}:\s{0,8}\[\s{0,8}\]')
_FILLED_CHOICES: Final = re.compile(rb'"choices"\s{0,8}:\s{0,8}\[\s{0,8}[^\]\s]')
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_OPENAI: Final = WireFormat.OPENAI


_decode: Final = msgspec.json.Decoder(StreamChunk).decode


class StreamFilter:
    """For one stream whose usage was asked for by the gateway and not by the caller."""

    def __init__(self, wire_format: WireFormat) -> None:
        """Anthropic's streams hold no such event and pass untouched."""
        self._active = wire_format is _OPENAI
        self._held = b""
        self._passing = False
        """Inside an event of which a part has passed, so that the rest has to."""
        self._tail = b""
        """The last bytes of that part."""

    def feed(self, chunk: bytes) -> bytes:
        """Give the bytes to pass on now; may be empty."""
        if not self._active:
            return chunk
        if not self._held and not self._passing and chunk[-2:] == b"\n\n":
            choices = chunk.find(b'"choices"')
            if choices >= 0 and _EMPTY_CHOICES.search(chunk, choices) is None:
                return chunk
        passed: list[bytes] = []
        if self._passing:
            chunk = self._pass_rest_of_event(chunk, passed)
        data = self._held + chunk
        self._held = b""
        position = 0
        for end in _EVENT_END.finditer(data):
            event = data[position : end.end()]
            position = end.end()
            if _is_usage_only(event):
                _pass_comments(event, passed)
            else:
                passed.append(event)
        rest = _pass_comments(data[position:], passed)
        if rest:
            if _may_become_usage_only(rest):
                self._held = rest
            else:
                self._passing = True
                self._tail = rest[-_LONGEST_LOOK_BACK:]
                passed.append(rest)
        return passed[0] if len(passed) == 1 else b"".join(passed)

    def _pass_rest_of_event(self, chunk: bytes, passed: list[bytes]) -> bytes:
        """Pass what belongs to the event of which a part has passed; gives what follows it."""
        # The empty line that ends it may have begun in an earlier chunk.
        joined = self._tail + chunk
        end = _EVENT_END.search(joined)
        if end is None:
            self._tail = joined[-_LONGEST_LOOK_BACK:]
            passed.append(chunk)
            return b""
        self._passing = False
        length = end.end() - len(self._tail)
        self._tail = b""
        passed.append(chunk[:length])
        return chunk[length:]

    def finish(self) -> bytes:
        """Give what was still held back when the stream ended."""
        held, self._held = self._held, b""
        return b"" if _is_usage_only(held) else held


def _data_of(event: bytes) -> bytes:
    lines = _LINE_END.split(event.removeprefix(b"\xef\xbb\xbf"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def _is_usage_only(event: bytes) -> bool:
    if len(event) > MAXIMUM_HELD or _EMPTY_CHOICES.search(event) is None:
        return False
    try:
        chunk = _decode(_data_of(event))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return chunk.choices == [] and bool(chunk.usage)


def _pass_comments(part: bytes, passed: list[bytes]) -> bytes:
    """Pass the empty lines and comments at the start of an event: they keep connections alive."""
    position = 0
    for end in _LINE_END.finditer(part):
        line = part[position : end.start()]
        if line and not line.startswith(b":"):
            break
        position = end.end()
    if position:
        passed.append(part[:position])
    return part[position:]


def _may_become_usage_only(part: bytes) -> bool:
    """Whether the beginning of an event can still be that of the extra one."""
    return len(part) <= MAXIMUM_HELD and _FILLED_CHOICES.search(part) is None
