"""Bytes on real sockets: what no SDK would send, and bodies that are larger than memory allows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.integration.gateway_path.running import QUOTE, Running, running
from tests.support.call_rig import CHAT_ANSWER
from tests.support.eventually import eventually

from keylease.strongroom.configuration import WireLimits


class Upstream:
    """Reads requests as slowly as a test wants, and answers what it is told."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.received = 0
        self.reading = asyncio.Event()
        self.reading.set()
        self.answer = json.dumps(CHAT_ANSWER).encode()
        self.pieces: list[bytes] | None = None
        self.sent = 0
        self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed += 1
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        left = int(fields.get(b"content-length", b"0"))
        while left:
            await self.reading.wait()
            piece = await reader.read(min(left, 65536))
            if not piece:
                raise ConnectionError
            left -= len(piece)
            self.received += len(piece)
        if self.pieces is None:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(self.answer), self.answer)
            )
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in self.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            self.sent += len(piece)
        writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def serving(limits: WireLimits | None = None) -> AsyncIterator[tuple[Running, Upstream]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        async with running(f"{url}/v1", url, limits=limits) as gateway:
            gateway.link.prices["openai", "gpt-4o-mini"] = QUOTE
            gateway.link.store("cred-openai", b"sk-test-0123456789abcdef")
            yield gateway, upstream
    finally:
        server.close()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Running, Upstream]]:
    async with serving() as made:
        yield made


async def connect(gateway: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = gateway.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


def request(
    lease: str, body: bytes, *, line: str = "POST /v1/chat/completions", extra: str = ""
) -> bytes:
    head = (
        f"{line} HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer {lease}\r\n"
        f"Content-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def status_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split(b" ")[1]), await reader.readexactly(length)


BODY = b'{"model":"gpt-4o-mini","messages":[]}'


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST http://evil.example/v1/chat/completions", 400),
        ("POST https://api.openai.com/v1/organization/admin_api_keys", 400),
        ("POST //evil.example/v1/chat/completions", 400),
        ("POST /v1/../v1/chat/completions", 400),
        ("POST /v1/chat/completions@evil.example", 404),
        ("POST /v1/chat/completions#x", 400),
    ],
)
async def test_a_target_cannot_choose_where_a_call_goes(
    served: tuple[Running, Upstream], line: str, status: int
) -> None:
    gateway, upstream = served
    reader, writer = await connect(gateway)
    writer.write(request(gateway.make_lease(), BODY, line=line))
    found, _ = await status_of(reader)
    assert found == status
    assert not upstream.heads
    writer.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "api.openai.com:1", "169.254.169.254", "127.0.0.1"]
)
async def test_the_host_header_has_no_say(served: tuple[Running, Upstream], host: str) -> None:
    gateway, upstream = served
    reader, writer = await connect(gateway)
    sent = request(
        gateway.make_lease(), BODY, extra=f"X-Forwarded-Host: {host}\r\nForwarded: host={host}\r\n"
    )
    writer.write(sent.replace(b"gateway.example", host.encode()))
    assert (await status_of(reader))[0] == 200
    [head] = upstream.heads
    assert host.encode() not in head.replace(b"host: 127.0.0.1:", b"")
    assert b"authorization: Bearer sk-test-0123456789abcdef\r\n" in head
    writer.close()


async def test_pipelined_calls_are_answered_in_order(served: tuple[Running, Upstream]) -> None:
    gateway, upstream = served
    lease = gateway.make_lease()
    reader, writer = await connect(gateway)
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request(lease, BODY) + health + request("kll_no", BODY) + request(lease, BODY))
    statuses = [(await status_of(reader))[0] for _ in range(4)]
    assert statuses == [200, 200, 401, 200]
    assert len(upstream.heads) == 2
    writer.close()


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FORM_END = b"\r\n--b--\r\n"


async def test_an_upload_is_held_back_by_a_slow_upstream(
    served: tuple[Running, Upstream],
) -> None:
    gateway, upstream = served
    upstream.answer = b'{"id":"file-1","object":"file"}'
    upstream.reading.clear()
    size = 64 * 1024 * 1024
    reader, writer = await connect(gateway)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.make_lease()}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {size}\r\n\r\n"
    )
    writer.write(head.encode() + FORM)
    written = len(FORM) + len(FORM_END)

    async def push() -> None:
        nonlocal written
        while written < size:
            piece = b"x" * min(65536, size - written)
            writer.write(piece)
            await writer.drain()
            written += len(piece)
        writer.write(FORM_END)

    pushing = asyncio.create_task(push())
    await eventually(lambda: written > 0)
    before = -1
    while before != written:
        before = written
        await asyncio.sleep(0.2)
    assert written < size // 2, "the client was held back"
    upstream.reading.set()
    assert (await status_of(reader))[0] == 200
    await pushing
    assert upstream.received == size
    assert gateway.link.objects["file-1"].principal == "user:ada"
    writer.close()


async def test_a_stream_is_held_back_by_a_slow_client(served: tuple[Running, Upstream]) -> None:
    gateway, upstream = served
    upstream.pieces = [b"data: " + b"x" * 65000 + b"\n\n"] * 500
    total = sum(len(piece) for piece in upstream.pieces)
    reader, writer = await connect(gateway)
    writer.write(request(gateway.make_lease(), BODY[:-1] + b',"stream":true}'))
    await reader.readuntil(b"\r\n\r\n")
    before = -1
    while before != upstream.sent:
        before = upstream.sent
        await asyncio.sleep(0.2)
    assert upstream.sent < total * 2 // 3, "the upstream was held back"
    while not (await reader.read(1 << 20)).endswith(b"0\r\n\r\n"):
        pass
    assert upstream.sent == total
    writer.close()


async def test_a_client_that_goes_away_ends_the_upstream_connection(
    served: tuple[Running, Upstream],
) -> None:
    gateway, upstream = served
    upstream.pieces = [b"data: " + b"x" * 65000 + b"\n\n"] * 500
    reader, writer = await connect(gateway)
    writer.write(request(gateway.make_lease(), BODY[:-1] + b',"stream":true}'))
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    await eventually(lambda: gateway.link.records and upstream.closed)
    [record] = gateway.link.records
    assert (record.client_gone, record.estimated) == (True, True)


async def test_an_upload_over_the_limit_ends_with_a_413() -> None:
    async with serving(WireLimits(upload_bytes=100_000)) as (gateway, _):
        reader, writer = await connect(gateway)
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {gateway.make_lease()}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(head.encode() + b"%x\r\n%b\r\n" % (len(FORM), FORM))
        for _ in range(4):
            writer.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert (await status_of(reader))[0] == 413
        assert gateway.link.records[0].error == "request_too_large"
        writer.close()
