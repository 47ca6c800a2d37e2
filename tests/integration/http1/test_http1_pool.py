"""The pool when upstreams are slow, away or too many, and callers give up; on both loops."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.support.http1_kit import (
    LocalAddress,
    RawClient,
    RecordingReceiver,
    no_error,
    pool_to,
    raw_upstream,
)
from tests.support.scripted_upstreams import (
    OK,
    answering,
    ask,
    failure,
    forever,
    get,
    silent,
)

from keylease.errors import EgressRefused
from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.interfaces import UpstreamRequest
from keylease.primitives.http1.limits import PoolLimits

# --- connecting ----------------------------------------------------------------------------------


async def test_nothing_was_sent_when_nobody_listens() -> None:
    async with raw_upstream(forever) as port:
        pass
    async with pool_to(port) as pool:
        receivers = await asyncio.gather(*(ask(pool) for _ in range(3)))
        for receiver in receivers:
            assert (failure(receiver).kind, failure(receiver).sent) == ("connect", False)


async def test_addresses_are_asked_for_every_connection_and_tried_in_order() -> None:
    asked = 0

    async with raw_upstream(answering(OK)) as port, raw_upstream(forever) as unused:
        pass

    async with raw_upstream(answering(OK)) as port:

        async def resolve() -> list[LocalAddress]:
            nonlocal asked
            asked += 1
            return [LocalAddress("127.0.0.1", unused), LocalAddress("127.0.0.1", port)]

        pool = UpstreamPool(
            host="localhost", port=port, resolve=resolve, ssl_context=None, on_error=no_error
        )
        for number in (1, 2):
            assert (await ask(pool)).body == b"ok"
            await asyncio.sleep(0.02)
            assert asked == number
        await pool.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EgressRefused("The address is private."), "address"),
        (OSError("no such name"), "connect"),
        (RuntimeError("a defect"), "connect"),
    ],
)
async def test_no_address_is_no_connection(error: Exception, kind: str) -> None:
    errors: list[BaseException] = []

    async def resolve() -> list[LocalAddress]:
        raise error

    pool = UpstreamPool(
        host="localhost", port=1, resolve=resolve, ssl_context=None, on_error=errors.append
    )
    receiver = await ask(pool)
    assert (failure(receiver).kind, failure(receiver).sent) == (kind, False)
    assert errors == ([error] if isinstance(error, RuntimeError) else [])
    await pool.close()


async def test_connecting_times_out() -> None:
    async def resolve() -> list[LocalAddress]:
        await asyncio.sleep(10)
        return []

    pool = UpstreamPool(
        host="localhost",
        port=1,
        resolve=resolve,
        ssl_context=None,
        limits=PoolLimits(connect_seconds=0.1),
        on_error=no_error,
    )
    receiver = await ask(pool)
    assert (failure(receiver).kind, failure(receiver).sent) == ("connect", False)
    await pool.close()


async def test_no_tls_is_a_failure_before_anything_is_sent() -> None:
    got = b""

    async def serve(peer: RawClient, number: int) -> None:
        nonlocal got
        del number
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        got = await peer.reader.read()

    async with raw_upstream(serve) as port:

        async def resolve() -> list[LocalAddress]:
            return [LocalAddress("127.0.0.1", port)]

        pool = UpstreamPool(
            host="localhost",
            port=port,
            resolve=resolve,
            ssl_context=ssl.create_default_context(),
            on_error=no_error,
        )
        receiver = await ask(pool)
        assert (failure(receiver).kind, failure(receiver).sent) == ("tls", False)
        assert b"GET" not in got
        await pool.close()


# --- bounds --------------------------------------------------------------------------------------


async def test_requests_wait_for_a_connection_and_go_in_order() -> None:
    order: list[bytes] = []

    async def serve(peer: RawClient, number: int) -> None:
        del number
        while True:
            order.append((await peer.until(b"\r\n\r\n")).split(b" ")[1])
            await asyncio.sleep(0.005)
            peer.send(OK)

    limits = PoolLimits(connections=1)
    async with raw_upstream(serve) as port, pool_to(port, limits=limits) as pool:
        receivers = [RecordingReceiver() for _ in range(10)]
        for number, receiver in enumerate(receivers):
            pool.request(method="GET", target=b"/%d" % number, headers=b"", receiver=receiver)
        assert pool.waiting_count == 10
        for receiver in receivers:
            await receiver.ended()
            assert receiver.body == b"ok"
        assert order == [b"/%d" % number for number in range(10)]
        assert pool.open_count == 1


async def test_more_than_may_wait_fails_at_once_and_too_long_fails_later() -> None:
    limits = PoolLimits(connections=1, waiting=2, waiting_seconds=0.2)
    async with raw_upstream(silent) as port, pool_to(port, limits=limits) as pool:
        busy = RecordingReceiver()
        request = get(pool, busy)
        await asyncio.sleep(0.1)
        assert (pool.open_count, pool.waiting_count) == (1, 0)
        waiting = [RecordingReceiver() for _ in range(3)]
        for receiver in waiting:
            get(pool, receiver)
            assert receiver.events == [], "never before request() has returned"
        await waiting[2].ended()
        assert waiting[0].events == []
        for receiver in waiting:
            await receiver.ended()
            assert (failure(receiver).kind, failure(receiver).sent) == ("pool_full", False)
        assert pool.waiting_count == 0
        request.cancel()
        assert busy.events == []


async def test_an_upstream_that_does_not_answer_times_out() -> None:
    limits = PoolLimits(response_seconds=0.2)
    async with raw_upstream(silent) as port, pool_to(port, limits=limits) as pool:
        receiver = await ask(pool)
        assert (failure(receiver).kind, failure(receiver).sent) == ("timeout", True)
        assert pool.open_count == 0


async def test_a_slow_answer_lives_and_one_that_stops_times_out() -> None:
    async def serve(peer: RawClient, number: int) -> None:
        await peer.until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for byte in b"abcdef"[: 6 - number * 3]:
            await asyncio.sleep(0.08)
            peer.send(bytes([byte]))
        await peer.reader.read()

    limits = PoolLimits(response_seconds=0.3)
    async with raw_upstream(serve) as port, pool_to(port, limits=limits) as pool:
        slow, stopping = await asyncio.gather(ask(pool), ask(pool))
        if slow.failure is not None:
            slow, stopping = stopping, slow
        assert slow.body == b"abcdef"
        assert stopping.body == b"abc"
        assert failure(stopping).kind == "timeout"


# --- giving up, back-pressure, defects -----------------------------------------------------------


async def test_a_cancelled_request_closes_its_connection_and_hears_nothing_more() -> None:
    gone = asyncio.Event()

    async def serve(peer: RawClient, number: int) -> None:
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        assert await peer.rest() == b""
        gone.set()

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        receiver = RecordingReceiver()
        request = get(pool, receiver)
        await receiver.until("data")
        request.cancel()
        request.cancel()
        async with asyncio.timeout(5):
            await gone.wait()
        assert receiver.events == ["head", "data"]
        assert pool.open_count == 0


async def test_a_request_cancelled_while_it_waits_is_never_sent() -> None:
    requests: list[bytes] = []
    async with (
        raw_upstream(answering(OK, OK, requests=requests)) as port,
        pool_to(port) as pool,
    ):
        receiver = RecordingReceiver()
        get(pool, receiver).cancel()
        await ask(pool)
        assert receiver.events == []
        assert len(requests) == 1


async def test_a_late_cancel_does_not_touch_the_next_request() -> None:
    async with raw_upstream(forever) as port, pool_to(port) as pool:
        first = RecordingReceiver()
        request = get(pool, first)
        await first.ended()
        second = RecordingReceiver()
        get(pool, second)
        request.cancel()
        request.pause_reading()
        await second.ended()
        assert second.events[-1] == "complete"
        assert pool.open_count == 1


async def test_a_slow_receiver_pauses_the_upstream() -> None:
    sent = 0

    async def serve(peer: RawClient, number: int) -> None:
        nonlocal sent
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while sent < 100_000_000:
            peer.send(b"x" * 100_000)
            sent += 100_000
            await peer.writer.drain()

    limits = PoolLimits(response_seconds=0.3)
    async with raw_upstream(serve) as port, pool_to(port, limits=limits) as pool:
        receiver = RecordingReceiver()
        request = get(pool, receiver)
        await receiver.until("data")
        request.pause_reading()
        await asyncio.sleep(0.6)
        stalled = sent
        taken = len(receiver.body)
        assert stalled < 50_000_000
        assert taken <= 1024 * 1024
        assert receiver.failure is None, "time must not run while we are the slow side"
        request.resume_reading()
        await asyncio.sleep(0.1)
        assert len(receiver.body) > taken
        request.cancel()


class Pausing(RecordingReceiver):
    request: UpstreamRequest | None = None

    def data_received(self, data: bytes) -> None:
        assert self.request is not None
        self.request.pause_reading()
        super().data_received(data)


async def test_a_pause_ends_with_its_answer() -> None:
    async with raw_upstream(forever) as port, pool_to(port) as pool:
        receiver = Pausing()
        receiver.request = get(pool, receiver)
        await receiver.ended()
        assert (await ask(pool)).body == b"ok"
        assert pool.open_count == 1


async def test_a_slow_upstream_pauses_the_sender() -> None:
    go_on = asyncio.Event()

    async def serve(peer: RawClient, number: int) -> None:
        del number
        await go_on.wait()
        end = b""
        while end != b"\r\n0\r\n\r\n":
            end = (end + await peer.reader.read(100_000))[-7:]
        peer.send(OK)

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        receiver = RecordingReceiver()
        request = pool.request(
            method="POST", target=b"/", headers=b"", receiver=receiver, body=None
        )
        written = 0
        while "pause" not in receiver.events or receiver.events[-1] == "resume":
            request.write(b"x" * 65536)
            written += 65536
            await asyncio.sleep(0)
            assert written < 50_000_000
        go_on.set()
        while receiver.events[-1] != "resume":
            receiver.changed.clear()
            await receiver.changed.wait()
        request.finish()
        await receiver.ended()
        assert receiver.body == b"ok"


class Defective(RecordingReceiver):
    def data_received(self, data: bytes) -> None:
        raise LookupError(data)


async def test_a_defect_of_a_receiver_is_reported_and_ends_its_call_only() -> None:
    errors: list[BaseException] = []
    async with (
        raw_upstream(forever) as port,
        pool_to(port, on_error=errors.append) as pool,
    ):
        receiver = Defective()
        get(pool, receiver)
        await receiver.ended()
        assert failure(receiver).kind == "protocol"
        assert [type(error) for error in errors] == [LookupError]
        assert (await ask(pool)).body == b"ok"


async def test_a_closed_pool_takes_nothing_and_keeps_nothing() -> None:
    async with raw_upstream(forever) as port, pool_to(port) as pool:
        await ask(pool)
        waiting = RecordingReceiver()
        await pool.close()
        await asyncio.sleep(0)
        get(pool, waiting)
        await waiting.ended()
        assert (failure(waiting).kind, failure(waiting).sent) == ("connect", False)
        await asyncio.sleep(0.02)
        assert pool.open_count == 0
