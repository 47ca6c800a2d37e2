"""One request to an upstream, from the pool's queue to the end of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from keylease.primitives.http1.interfaces import ResponseReceiver, UpstreamFailure, UpstreamRequest
from keylease.primitives.http1.rendering import LAST_CHUNK, render_chunk
from keylease.primitives.http1.sweeper import NEVER

HELD_BYTES: Final = 64 * 1024
"""Of a body that comes in pieces, held before there is a connection; then the sender is paused."""


class Carrier(Protocol):
    """The connection that carries a call."""

    __slots__ = ()

    @property
    def blocked(self) -> bool:
        """The upstream takes less than we write; ``resume_writing`` will be called."""
        ...

    def put(self, data: bytes) -> None:
        """Write bytes of the request's body."""
        ...

    def sent(self) -> None:
        """The request is whole."""
        ...

    def drop(self) -> None:
        """Close at once; the call is given up."""
        ...

    def hold_input(self, *, held: bool) -> None:
        """Stop or go on taking the answer."""
        ...


class Call(UpstreamRequest):
    """The pool's ``UpstreamRequest``. Once it is ``over``, everything is ignored."""

    __slots__ = (
        "_give_up",
        "_held",
        "_held_bytes",
        "_left",
        "_paused_sender",
        "carrier",
        "chunked",
        "deadline",
        "input_held",
        "over",
        "receiver",
        "to_head",
        "unfinished",
    )

    def __init__(
        self,
        receiver: ResponseReceiver,
        *,
        to_head: bool,
        unfinished: bool,
        content_length: int | None,
    ) -> None:
        """``unfinished``: the body follows; chunked unless ``content_length`` is given."""
        self.receiver = receiver
        self.to_head = to_head
        self.unfinished = unfinished
        self.chunked = unfinished and content_length is None
        self.over = False
        self.input_held = False
        self.carrier: Carrier | None = None
        self.deadline = NEVER
        self._left = content_length or 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paused_sender = False
        self._give_up: Callable[[Call], None] | None = None

    # --- while it waits for a connection -------------------------------------------------------

    def wait(self, message: bytes, *, deadline: float, give_up: Callable[[Call], None]) -> None:
        """Hold what is to be sent until there is a connection; ``give_up`` ends the waiting."""
        self._held.append(message)
        self.deadline = deadline
        self._give_up = give_up

    def attach(self, carrier: Carrier) -> None:
        """Send what was held."""
        self.carrier = carrier
        self._give_up = None
        self.deadline = NEVER
        held, self._held = self._held, []
        carrier.put(b"".join(held))
        if self._paused_sender and not carrier.blocked:
            self.receiver.resume_writing()
        self._paused_sender = False

    def expired(self) -> None:
        """No connection became free in time."""
        give_up = self._give_up
        if give_up is not None:
            give_up(self)
            self.fail(
                UpstreamFailure("pool_full", sent=False, detail="no connection became free in time")
            )

    def fail(self, failure: UpstreamFailure) -> None:
        """Tell the receiver, once."""
        if not self.over:
            self.over = True
            self.carrier = None
            self.receiver.failed(failure)

    # --- what the requester calls --------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self.over or not data:
            return
        if not self.unfinished:
            raise RuntimeError("the request is already whole")
        if not self.chunked:
            if len(data) > self._left:
                self.cancel()
                raise ValueError("the request's body is longer than its head said")
            self._left -= len(data)
        self._put(render_chunk(data) if self.chunked else data)

    def finish(self) -> None:
        """End the body."""
        if self.over:
            return
        if not self.unfinished:
            raise RuntimeError("the request is already whole")
        if self._left:
            self.cancel()
            raise ValueError("the request's body is shorter than its head said")
        if self.chunked:
            self._put(LAST_CHUNK)
        self.unfinished = False
        if self.carrier is not None:
            self.carrier.sent()

    def cancel(self) -> None:
        """Give up: nothing more is received, the connection is closed."""
        if self.over:
            return
        self.over = True
        carrier, self.carrier = self.carrier, None
        if carrier is not None:
            carrier.drop()
        elif self._give_up is not None:
            self._give_up(self)

    def pause_reading(self) -> None:
        """Stop taking the answer; what was already read is still delivered."""
        self.input_held = True
        if self.carrier is not None:
            self.carrier.hold_input(held=True)

    def resume_reading(self) -> None:
        """Take the answer again."""
        self.input_held = False
        if self.carrier is not None:
            self.carrier.hold_input(held=False)

    def _put(self, data: bytes) -> None:
        if self.carrier is not None:
            self.carrier.put(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES and not self._paused_sender:
            self._paused_sender = True
            self.receiver.pause_writing()
