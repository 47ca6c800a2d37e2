"""The load generator: one process that puts load on one address and tells what it saw.

    python bench/load.py < SPEC        SPEC is one JSON object, see ``Spec``; prints one JSON object

Raw asyncio protocol on uvloop. Latencies are integer nanoseconds of the monotonic clock. In the
open loop they count from the moment a request was *scheduled*, not from when it was sent, so a
gateway that stalls cannot hide it (coordinated omission).
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import dataclasses
import json
import os
import re
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import httptools
import uvloop

import payloads

HEAD_END = b"\r\n\r\n"
SENT_AT = re.compile(rb"@(\d{6,20}) ")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
GIVE_UP_SECONDS = 30.0


@dataclasses.dataclass
class Spec:
    """What to do."""

    kind: str
    """closed, open or streams."""
    host: str
    port: int
    path: str
    headers: dict[str, str]
    model: str
    sent_model: str = ""
    """The model's name at this address, where it has another one."""
    connections: int = 1
    seconds: float = 0.0
    requests: int = 0
    rate: float = 0.0
    ramp_seconds: float = 0.0
    """Over which the connections are opened."""
    start_delay: float = 0.0


class Tally:
    """What was seen."""

    def __init__(self) -> None:
        self.latencies: list[int] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.first_chunks: list[int] = []
        self.chunk_delays: list[int] = []
        self.events = 0
        self.wire_chunks = 0
        self.whole_streams = 0


class Connection(asyncio.Protocol):
    """One connection; answers are matched to requests in order, one at a time."""

    def __init__(self, tally: Tally, *, streaming: bool) -> None:
        self.tally = tally
        self.streaming = streaming
        self.transport: asyncio.Transport | None = None
        self.on_done: Callable[[Connection], None] = lambda _: None
        self.begun = 0
        self.busy = False
        self.needed = 0
        self.got = 0
        self.status = 0
        self.buffer = b""
        self.parser: httptools.HttpResponseParser | None = None
        self.first = True
        self.chunk_body = b""
        self.seen_events = 0
        self.seen_chunks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio gives a Transport here

    def send(self, request: bytes, begun: int) -> None:
        self.begun = begun
        self.busy = True
        self.needed = self.got = 0
        self.first = True
        self.seen_events = self.seen_chunks = 0
        if self.transport is None:
            self.fail("connection lost")
            return
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.streaming:
            self.feed_parser(data)
            return
        if self.parser is not None:
            self.parser.feed_data(data)
            return
        if not self.needed:
            data = self.buffer + data
            end = data.find(HEAD_END)
            if end < 0:
                self.buffer = data
                return
            self.buffer = b""
            self.status = int(data[9:12])
            found = LENGTH.search(data, 0, end)
            if found is None:
                self.parser = httptools.HttpResponseParser(self)
                self.parser.feed_data(data)
                return
            self.needed = end + 4 + int(found[1])
        self.got += len(data)
        if self.got >= self.needed:
            self.done()

    def feed_parser(self, data: bytes) -> None:
        if self.parser is None:
            self.parser = httptools.HttpResponseParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.fail("not HTTP")

    # httptools' callbacks, for answers without a length
    def on_headers_complete(self) -> None:
        if self.parser is not None:
            self.status = self.parser.get_status_code()

    def on_chunk_header(self) -> None:
        self.chunk_body = b""

    def on_body(self, body: bytes) -> None:
        if not self.streaming:
            return
        now = time.monotonic_ns()
        if self.first:
            self.first = False
            self.tally.first_chunks.append(now - self.begun)
        for found in SENT_AT.finditer(body):
            self.tally.chunk_delays.append(now - int(found[1]))
            self.seen_events += 1
        self.chunk_body += body

    def on_chunk_complete(self) -> None:
        if self.streaming and SENT_AT.search(self.chunk_body):
            self.seen_chunks += 1

    def on_message_complete(self) -> None:
        # A fresh parser for each message: llhttp remembers "Connection: close" otherwise.
        self.parser = None
        if self.streaming:
            self.tally.events += self.seen_events
            self.tally.wire_chunks += self.seen_chunks
            self.tally.whole_streams += 1
        self.done()

    def done(self) -> None:
        self.busy = False
        if self.status == 200:
            self.tally.latencies.append(time.monotonic_ns() - self.begun)
        else:
            self.tally.errors[f"status {self.status}"] += 1
        self.on_done(self)

    def fail(self, why: str) -> None:
        self.tally.errors[why] += 1
        self.busy = False
        self.on_done(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        if self.busy:
            self.fail("connection lost")


class Generator:
    """Runs one spec."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tally = Tally()
        body = payloads.request_body(spec.model)
        if spec.sent_model:
            value = json.loads(body) | {"model": spec.sent_model}
            body = json.dumps(value).encode()
        lines = [f"POST {spec.path} HTTP/1.1", f"Host: {spec.host}:{spec.port}"]
        lines += [f"{name}: {value}" for name, value in spec.headers.items()]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
        self.request = "\r\n".join(lines).encode() + body
        self.loop = asyncio.get_running_loop()

    async def connect(self) -> Connection:
        streaming = self.spec.kind == "streams"
        _, connection = await self.loop.create_connection(
            lambda: Connection(self.tally, streaming=streaming), self.spec.host, self.spec.port
        )
        return connection

    async def closed(self) -> None:
        """Each connection sends its next request when the last was answered."""
        spec = self.spec
        end = time.monotonic_ns() + int((spec.ramp_seconds + spec.seconds) * 1e9)
        left = spec.requests
        running = 0
        idle = asyncio.Event()

        def next_request(connection: Connection) -> None:
            nonlocal left, running
            now = time.monotonic_ns()
            over = left == 0 if spec.requests else now >= end
            if over or connection.transport is None:
                running -= 1
                if not running:
                    idle.set()
                return
            left -= 1
            connection.send(self.request, now)

        for connection in [await self.connect() for _ in range(spec.connections)]:
            connection.on_done = next_request
            running += 1
            next_request(connection)
            if spec.ramp_seconds:
                await asyncio.sleep(spec.ramp_seconds / spec.connections)
        patience = spec.seconds + GIVE_UP_SECONDS if spec.seconds else None
        async with asyncio.timeout(patience):
            await idle.wait()

    async def open(self) -> None:
        """Requests are sent when they are due, whether or not earlier ones were answered."""
        spec = self.spec
        idle: list[Connection] = [await self.connect() for _ in range(spec.connections)]
        waiting: collections.deque[int] = collections.deque()
        total = int(spec.rate * spec.seconds)
        finished = asyncio.Event()
        sent = answered = 0

        def done(connection: Connection) -> None:
            nonlocal answered
            answered += 1
            if answered == total:
                finished.set()
            if connection.transport is None:
                return
            if waiting:
                connection.send(self.request, waiting.popleft())
            else:
                idle.append(connection)

        for connection in idle:
            connection.on_done = done
        interval = int(1e9 / spec.rate)
        begun = time.monotonic_ns()

        def due() -> None:
            nonlocal sent
            (ticks,) = struct.unpack("Q", os.read(timer, 8))
            for _ in range(ticks):
                if sent == total:
                    self.loop.remove_reader(timer)
                    return
                sent += 1
                scheduled = begun + sent * interval
                if idle:
                    idle.pop().send(self.request, scheduled)
                else:
                    waiting.append(scheduled)

        timer = interval_timer(interval)
        try:
            self.loop.add_reader(timer, due)
            async with asyncio.timeout(spec.seconds + GIVE_UP_SECONDS):
                await finished.wait()
        finally:
            self.loop.remove_reader(timer)
            os.close(timer)

    async def run(self) -> dict[str, Any]:
        if self.spec.start_delay:
            await asyncio.sleep(self.spec.start_delay)
        begun = time.monotonic()
        try:
            await (self.open() if self.spec.kind == "open" else self.closed())
        except TimeoutError:
            self.tally.errors["not finished in time"] += 1
        return self.result(time.monotonic() - begun)

    def result(self, seconds: float) -> dict[str, Any]:
        tally = self.tally
        return {
            "seconds": seconds,
            "requests": len(tally.latencies),
            "rate": len(tally.latencies) / seconds,
            "errors": sum(tally.errors.values()),
            "error_kinds": dict(tally.errors),
            "latency": summary(tally.latencies),
            "first_chunk": summary(tally.first_chunks),
            "chunk_delay": summary(tally.chunk_delays),
            "events": tally.events,
            "wire_chunks": tally.wire_chunks,
            "streams": tally.whole_streams,
        }


def interval_timer(nanoseconds: int) -> int:
    """A timerfd(2) that expires again and again; uvloop's own timers have millisecond steps."""
    libc = ctypes.CDLL(None, use_errno=True)
    clock_monotonic, nonblocking = 1, os.O_NONBLOCK | os.O_CLOEXEC
    timer = libc.timerfd_create(clock_monotonic, nonblocking)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    setting = struct.pack("4q", seconds, rest, seconds, rest)
    if libc.timerfd_settime(timer, 0, setting, None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    return int(timer)


def summary(values: list[int]) -> dict[str, float]:
    """Milliseconds; nearest-rank percentiles."""
    if not values:
        return {}
    values = sorted(values)
    last = len(values) - 1
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: values[round(last * rank)] / 1e6 for name, rank in ranks.items()} | {
        "mean": sum(values) / len(values) / 1e6
    }


async def main() -> None:
    print(json.dumps(await Generator(Spec(**json.load(sys.stdin))).run()))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
