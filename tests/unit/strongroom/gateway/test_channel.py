from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from tests.support.eventually import eventually

from keylease import errors
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.channel import (
    BUSY_BYTES,
    CoordinatorEnd,
    WorkerEnd,
    coordinator_end,
    worker_end,
)
from keylease.strongroom.gateway.interfaces import Demand, LimitKey, LimitKind, LimitWindow


class Pair:
    def __init__(self) -> None:
        self.to_worker: list[messages.ToWorker] = []
        self.to_coordinator: list[messages.ToCoordinator] = []
        self.blocks: list[bytes] = []
        self.closed: list[Exception | None] = []
        self.worker: WorkerEnd
        self.coordinator: CoordinatorEnd
        self.raw: socket.socket

    async def open(self) -> None:
        left, right = socket.socketpair()
        self.coordinator = coordinator_end(
            on_message=self.to_coordinator.append,
            on_block=self.blocks.append,
            on_closed=self.closed.append,
        )
        self.raw = right.dup()
        self.worker = worker_end(on_message=self.to_worker.append, on_closed=self.closed.append)
        await self.coordinator.open(left)
        await self.worker.open(right)


@asynccontextmanager
async def opened() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.open()
    try:
        yield pair
    finally:
        pair.coordinator.close()
        pair.worker.close()
        pair.raw.close()
        await asyncio.sleep(0.01)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with opened() as pair:
        yield pair


def is_busy(pair: Pair) -> bool:
    return pair.worker.busy


async def test_messages_and_blocks_arrive_in_order(pair: Pair) -> None:
    key = LimitKey("grant", LimitKind.TOKENS, LimitWindow.MINUTE)
    wanted = messages.SliceWanted(7, (Demand(key, 100, 5),))
    pair.worker.send(wanted)
    pair.worker.send_block(b"x" * 300_000)
    pair.worker.send(messages.Drained())
    pair.coordinator.send(messages.SliceGranted(7, (50,)))
    await asyncio.sleep(0.05)
    assert pair.to_coordinator == [wanted, messages.Drained()]
    assert pair.blocks == [b"x" * 300_000]
    assert pair.to_worker == [messages.SliceGranted(7, (50,))]


async def test_the_other_side_s_end_is_noticed(pair: Pair) -> None:
    pair.raw.shutdown(socket.SHUT_RDWR)
    await asyncio.sleep(0.05)
    assert len(pair.closed) == 2
    assert pair.coordinator.closed
    assert pair.worker.busy
    pair.coordinator.send(messages.Drain())


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_busy_while_the_other_side_does_not_keep_up(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    block = b"x" * 1_000_000
    too_many = 64

    async def fill() -> None:
        async with opened() as pair:
            assert not is_busy(pair)
            sent = 0
            while not is_busy(pair) and sent < too_many:  # nothing is read: this does not wait
                pair.worker.send_block(block)
                sent += 1
            assert BUSY_BYTES // len(block) < sent < too_many
            await eventually(lambda: len(pair.blocks) == sent)
            assert not is_busy(pair)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(fill())


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff\x00junk",
        b"\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x02\x07x",
        b"\x00\x00\x00\x03\x00\xc1\xc1",
        b"\x00\x00\x00\x09\x00\x91\xa6Foobar",
    ],
)
async def test_a_malformed_frame_closes_the_channel(pair: Pair, frame: bytes) -> None:
    pair.raw.send(frame)
    await asyncio.sleep(0.05)
    assert pair.to_coordinator == []
    assert pair.coordinator.closed
    assert pair.closed
    assert pair.closed[0] is not None


def test_secrets_do_not_show_in_messages() -> None:
    value = f"sk-test-{secrets.token_hex(16)}"
    given = messages.CredentialGiven(1, value.encode(), "v1", 0, 5.0)
    exchange = messages.TokenExchangeWanted(1, value.encode(), "", value, "")
    assert value not in f"{given!r} {exchange!r} {given}"


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreTimedOut("slow", advice="wait"),
        errors.LimitReached("enough", retry_after=12, advice="later"),
        errors.StorageFull("full"),
        errors.KeyleaseError("plain"),
    ],
)
def test_errors_keep_their_class(error: errors.KeyleaseError) -> None:
    again = messages.rebuild(messages.describe(3, error))
    assert type(again) is type(error)
    assert (again.message, again.advice) == (error.message, error.advice)
    if isinstance(error, errors.LimitReached):
        assert isinstance(again, errors.LimitReached)
        assert again.retry_after == error.retry_after


def test_an_unknown_error_stays_an_error() -> None:
    failed = messages.Failed(1, "code_from_elsewhere", "text")
    assert isinstance(messages.rebuild(failed), errors.StorageError)
