"""Server-sent events, taken apart while they pass (WHATWG HTML, section 9.2.6).

Lines end with LF, CRLF or CR; a byte order mark at the start is skipped; comments are skipped;
several ``data`` lines of one event are joined by LF. Memory is bounded: the data of an event that
is over the limit goes piece by piece to a sink, if there is one, and is dropped otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

MAXIMUM_EVENT: Final = 256 * 1024
"""Bytes of one event that are held."""
_LINE_ENDS: Final = frozenset({b"\n", b"\r"})
_BOM: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data:"


class DataSink(Protocol):
    """Takes the data of one event that is too long to be held."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...


class SseEvent:
    """One event with data."""

    __slots__ = ("data", "name", "sink")

    def __init__(self, name: bytes, data: bytes, sink: DataSink | None = None) -> None:
        self.name: Final = name
        """The ``event`` field; empty when it has none."""
        self.data: Final = data
        self.sink: Final = sink
        """What took the data instead, when it was too long."""


class SseSplitter:
    """Turns chunks, however they are cut, into events. An event that never ends is not reported."""

    def __init__(
        self, *, limit: int = MAXIMUM_EVENT, new_sink: Callable[[], DataSink | None] | None = None
    ) -> None:
        """``new_sink`` makes the sink of an event that is over ``limit`` bytes."""
        self._limit = limit
        self._new_sink = new_sink
        self._started = False
        self._skip_lf = False
        self._line: list[bytes] = []
        self._line_size = 0
        self._spilling = False
        """The current line is a data line whose bytes go to the sink."""
        self._dropping = False
        """The current line is too long and of no use."""
        self._name = b""
        self._data: list[bytes] = []
        self._data_size = 0
        self._over = False
        self._sink: DataSink | None = None

    @property
    def idle(self) -> bool:
        """Nothing of an event was seen since the last one ended."""
        return not (
            self._line or self._data or self._name or self._over or self._spilling or self._dropping
        )

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes; gives the events that are complete now."""
        if not self._started:
            if self._line:
                chunk = b"".join([*self._line, chunk])
                self._line, self._line_size = [], 0
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._line = [chunk] if chunk else []
                return []
            self._started = True
            chunk = chunk.removeprefix(_BOM)
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        events: list[SseEvent] = []
        lines = chunk.splitlines()  # of bytes: at CR, LF and CRLF, as the format has it
        last = chunk[-1:]
        rest = lines.pop() if lines and last not in _LINE_ENDS else b""
        for line in lines:
            self._line_ended(line, events)
        if rest:
            self._part_of_line(rest)
        self._skip_lf = last == b"\r" or (self._skip_lf and not chunk)
        return events

    def _part_of_line(self, part: bytes) -> None:
        if self._dropping:
            return
        if self._spilling:
            self._spill(part)
            return
        self._line.append(part)
        self._line_size += len(part)
        if self._line_size + self._data_size > self._limit:
            line = b"".join(self._line)
            self._line, self._line_size = [], 0
            if line.startswith(_DATA):
                self._overflow()
                self._spilling = True
                self._spill(line[len(_DATA) :].removeprefix(b" "))
            else:
                self._dropping = True

    def _line_ended(self, part: bytes, events: list[SseEvent]) -> None:
        if self._spilling or self._dropping:
            if self._spilling:
                self._spill(part)
            self._spilling = self._dropping = False
            return
        if self._line:
            self._line.append(part)
            part = b"".join(self._line)
            self._line, self._line_size = [], 0
        if not part:
            self._dispatch(events)
            return
        field, _, value = part.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._take_data(value)
        elif field == b"event":
            self._name = value[:128]

    def _take_data(self, value: bytes) -> None:
        if not self._over:
            self._data.append(value)
            self._data_size += len(value) + 1
            if self._data_size > self._limit:
                self._data.pop()
                self._overflow()
                self._spill(value)
        else:
            self._spill(b"\n" + value)

    def _overflow(self) -> None:
        if self._over:
            self._spill(b"\n")
            return
        self._over = True
        if self._new_sink is not None:
            self._sink = self._new_sink()
        held = b"".join(value + b"\n" for value in self._data)
        self._data, self._data_size = [], 0
        self._spill(held)

    def _spill(self, data: bytes) -> None:
        if self._sink is not None and data:
            self._sink.feed(data)

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._over:
            if self._sink is not None:
                events.append(SseEvent(self._name, b"", self._sink))
        elif self._data:
            events.append(SseEvent(self._name, b"\n".join(self._data)))
        self._name = b""
        self._data, self._data_size = [], 0
        self._over, self._sink = False, None
