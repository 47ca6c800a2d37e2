"""What is held for the end of a turn leaves whole, in order, and behind nothing that follows it."""

from __future__ import annotations

import asyncio

from tests.support.http1_kit import FakeTransport, no_error

from keylease.primitives.http1.outbox import HELD_BYTES, TOGETHER, Outbox, Outlet


def outlets(count: int) -> tuple[list[FakeTransport], list[Outlet]]:
    outbox = Outbox(asyncio.get_running_loop(), no_error)
    transports = [FakeTransport() for _ in range(count)]
    return transports, [Outlet(outbox, transport) for transport in transports]


async def test_everything_of_a_turn_leaves_at_its_end() -> None:
    transports, (one, other) = outlets(2)
    one.write(b"a")
    other.write(b"x")
    one.write(b"b")
    assert [transport.written for transport in transports] == [b"", b""]
    await asyncio.sleep(0)
    assert [transport.written for transport in transports] == [b"ab", b"x"]
    one.write(b"c")
    await asyncio.sleep(0)
    assert transports[0].written == b"abc"


async def test_a_long_turn_and_long_messages_hold_nothing_up() -> None:
    transports, many = outlets(TOGETHER)
    for outlet in many:
        outlet.write(b"a")
    assert all(transport.written == b"a" for transport in transports)
    many[0].write(b"b" * (HELD_BYTES + 1))
    assert len(transports[0].written) == HELD_BYTES + 2
    await asyncio.sleep(0)
    assert all(transport.written[:1] == b"a" for transport in transports)


async def test_what_follows_never_overtakes() -> None:
    (pair, ended, closed, aborted), writers = outlets(4)
    for outlet in writers:
        outlet.write(b"a")
    writers[0].write_pair(b"b", b"c")
    writers[1].write_eof()
    writers[2].close()
    writers[3].abort()
    assert [t.written for t in (pair, ended, closed, aborted)] == [b"abc", b"a", b"a", b"a"]
    assert ended.ended
    assert closed.closed
    assert aborted.closed
    await asyncio.sleep(0)


async def test_what_is_held_of_a_connection_that_ended_is_dropped() -> None:
    (gone, kept), writers = outlets(2)
    for outlet in writers:
        outlet.write(b"a")
    gone.close()
    await asyncio.sleep(0)
    assert (gone.written, kept.written) == (b"", b"a")
    writers[0].write_eof()
    assert not gone.ended


async def test_work_is_done_behind_everything_that_is_written_in_its_turn() -> None:
    reported: list[BaseException] = []
    outbox = Outbox(asyncio.get_running_loop(), reported.append)
    transport = FakeTransport()
    outlet = Outlet(outbox, transport)
    seen: list[bytes] = []

    def broken() -> None:
        raise ValueError("a defect")

    def more() -> None:
        seen.append(transport.written)
        outlet.write(b"c")
        outbox.after(lambda: seen.append(transport.written))

    outbox.after(broken)
    outbox.after(more)
    outlet.write(b"a")
    outlet.write(b"b")
    await asyncio.sleep(0)
    assert seen == [b"ab"]
    await asyncio.sleep(0)
    assert seen == [b"ab", b"abc"]
    assert [str(error) for error in reported] == ["a defect"]


async def test_a_long_message_leaves_at_once_behind_what_is_held() -> None:
    (open_, gone), writers = outlets(2)
    for outlet in writers:
        outlet.write(b"head")
    gone.close()
    for outlet in writers:
        outlet.write(b"b" * HELD_BYTES)
    assert (open_.written, gone.written) == (b"head" + b"b" * HELD_BYTES, b"")
    writers[0].write(b"c")
    await asyncio.sleep(0)
    assert open_.written == b"head" + b"b" * HELD_BYTES + b"c"
