"""A provider that does almost nothing, so that what is measured is the gateway.

Raw asyncio protocol on uvloop; httptools parses only what is not a plain Content-Length request.
It demands the key it was started with (or was given since by ``PUT /_bench/key``), so a gateway
that did not put the key in fails every call.

    python bench/upstream.py PORT        the key comes on stdin; prints "ready" when it listens
"""

from __future__ import annotations

import asyncio
import sys
import time

import httptools
import uvloop

import payloads

HEAD_END = b"\r\n\r\n"
ANSWERS = {}
for _model in payloads.SIZES:
    _body = payloads.answer_body(_model)
    ANSWERS[_model.encode()] = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
        b"content-length: %d\r\n\r\n" % len(_body)
    ) + _body
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def small(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


REFUSED = small(
    b"401 Unauthorized",
    b'{"error":{"message":"wrong key","type":"invalid_request_error","code":null}}',
)
OK = small(b"200 OK", b'{"object":"list","data":[]}')

accepted: set[bytes] = set()
"""The keys as ``Bearer ...`` field values; two during a rotation's overlap."""


class Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport | None = None
        self.parser: httptools.HttpRequestParser | None = None
        self.head = b""
        self.body: list[bytes] = []
        self.streaming: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio gives a Transport here

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.streaming is not None:
            self.streaming.cancel()
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if self.parser is not None:
            self.parser.feed_data(data)
            return
        self.buffer = data = self.buffer + data if self.buffer else data
        while data:
            end = data.find(HEAD_END)
            if end < 0:
                return
            head = data[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            if at < 0 and b"\r\ntransfer-encoding:" in head:
                self.parser = httptools.HttpRequestParser(self)
                self.parser.feed_data(data)
                return
            stop = head.find(b"\r\n", at + 2)
            length = int(head[at + 17 : stop if stop > 0 else len(head)]) if at >= 0 else 0
            total = end + 4 + length
            if len(data) < total:
                return
            self.answer(data[:end], data[end + 4 : total])
            self.buffer = data = data[total:]

    # httptools calls these for chunked requests; the head is kept as raw lines of its own making
    def on_message_begin(self) -> None:
        self.head, self.body = b"POST / HTTP/1.1", []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head += b"\r\n" + name + b": " + value

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.answer(self.head, b"".join(self.body))

    def answer(self, head: bytes, body: bytes) -> None:
        if self.transport is None:
            return
        if head.startswith(b"PUT /_bench/key"):
            accepted.clear()
            accepted.update(b"Bearer " + key for key in body.split())
            self.transport.write(OK)
            return
        if not any(value in head for value in accepted):
            self.transport.write(REFUSED)
            return
        start = body.find(b'"bench-')
        model = body[start + 1 : body.find(b'"', start + 1)]
        whole = ANSWERS.get(model)
        if whole is not None:
            self.transport.write(whole)
        elif model.decode() in payloads.STREAMS:
            self.transport.write(STREAM_HEAD)
            self.stream(model.decode(), 0)
        else:
            self.transport.write(OK)

    def stream(self, model: str, index: int) -> None:
        if self.transport is None:
            return
        count, interval = payloads.STREAMS[model]
        if index == count:
            last = payloads.stream_chunk(model, "", "stop") + b"data: [DONE]\n\n"
            self.transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))
            return
        event = payloads.stream_chunk(model, f"@{time.monotonic_ns()} ")
        self.transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        loop = asyncio.get_running_loop()
        self.streaming = loop.call_later(interval, self.stream, model, index + 1)


async def main(port: int) -> None:
    accepted.add(b"Bearer " + sys.stdin.readline().strip().encode())
    loop = asyncio.get_running_loop()
    await loop.create_server(Upstream, "127.0.0.1", port, backlog=2048)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
