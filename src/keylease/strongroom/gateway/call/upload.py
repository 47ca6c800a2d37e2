"""A body that streams through: a file on its way to a provider.

Limits: what was sent is kept while it is short, so that it can be sent once more when the provider
    refused the credential or was not reached: up to ``KEPT_BYTES`` of one upload and
    ``KEPT_TOGETHER`` of all uploads of a worker. A longer one has to be sent again by the caller.
"""

from __future__ import annotations

from typing import Final

from keylease.primitives.http1.interfaces import Responder, UpstreamRequest

KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of one upload."""
KEPT_TOGETHER: Final = 32 * 1024 * 1024
"""Of all uploads that one worker passes on at the same time."""


class KeptUploads:
    """How much the uploads of a worker may still keep, in bytes."""

    __slots__ = ("each", "left")

    def __init__(self, *, each: int = KEPT_BYTES, together: int = KEPT_TOGETHER) -> None:
        self.each = each
        self.left = together


class Upload:
    """The pieces of one body, until there is somebody to send them to, and after."""

    __slots__ = (
        "_charged", "_done", "_held", "_kept", "_pieces", "_request", "_responder", "_slow",
        "_waiting", "repeatable",
    )  # fmt: skip

    def __init__(self, responder: Responder, kept: KeptUploads) -> None:
        self._responder = responder
        self._kept = kept
        self._charged = 0
        """Bytes taken from ``_kept``."""
        self._pieces: list[bytes] = []
        """All pieces from the first one on, while it is ``repeatable``."""
        self._request: UpstreamRequest | None = None
        self._done = False
        self._waiting = False
        self._slow = False
        self._held = False
        self.repeatable = True
        """It can be sent from its beginning."""

    def take(self, data: bytes) -> None:
        """A piece from the client."""
        if not data:
            return
        if self._request is not None:
            self._request.write(data)
        if self.repeatable:
            self._pieces.append(data)
            self._charge(len(data))

    def end(self) -> None:
        """The client has sent all of it, and all of it may be sent on."""
        self._done = True
        if self._request is not None:
            self._request.finish()
            self._waiting = False
            self._steer()

    def wait(self) -> None:
        """Take no more of it until it can be sent."""
        if not self._done:
            self._waiting = True
            self._steer()

    def slow(self, *, slow: bool) -> None:
        """Whether the upstream takes it more slowly than it comes."""
        self._slow = slow
        self._steer()

    def flow_into(self, request: UpstreamRequest) -> None:
        """Send what came so far, and then the rest."""
        self._slow = False
        for piece in self._pieces:
            request.write(piece)
        self._request = request
        self._charge(0)
        if self._done:
            request.finish()
        self._waiting = False
        self._steer()

    def stop(self) -> None:
        """The request is over: nothing more is sent to it."""
        request, self._request = self._request, None
        if request is not None and not self._done:
            request.cancel()  # its connection has the beginning of a body, and is of no more use

    def release(self) -> None:
        """Keep nothing any more."""
        self.repeatable = False
        self._pieces = []
        self._kept.left += self._charged
        self._charged = 0

    def _charge(self, size: int) -> None:
        """Count what is kept; what waits to be sent is kept however much it is."""
        self._charged += size
        self._kept.left -= size
        if self._request is not None and (self._charged > self._kept.each or self._kept.left < 0):
            self.release()

    def _steer(self) -> None:
        hold = self._waiting or self._slow
        if hold is not self._held:
            self._held = hold
            if hold:
                self._responder.pause_reading()
            else:
                self._responder.resume_reading()
