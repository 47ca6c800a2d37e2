"""A body that streams through and is never held: a file on its way to a provider."""

from __future__ import annotations

from keylease.primitives.http1.interfaces import Responder, UpstreamRequest


class Upload:
    """The pieces of one body, until there is somebody to send them to, and after."""

    __slots__ = ("_pieces", "_request", "_responder", "ended")

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._request: UpstreamRequest | None = None
        self._pieces: list[bytes] = []
        self.ended = False
        """The client has sent all of it."""

    def take(self, data: bytes) -> None:
        """A piece from the client."""
        if self._request is not None:
            self._request.write(data)
        else:
            self._pieces.append(data)

    def end(self) -> None:
        """The client has sent all of it."""
        self.ended = True
        if self._request is not None:
            self._request.finish()

    def wait(self) -> None:
        """Take no more of it until it can be sent."""
        if not self.ended:
            self._responder.pause_reading()

    def flow_into(self, request: UpstreamRequest) -> None:
        """Send what came before there was anybody to send it to, and then the rest."""
        self._request = request
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            request.write(piece)
        self._responder.resume_reading()
        if self.ended:
            request.finish()

    def stop(self) -> None:
        """The request is over: nothing more is sent."""
        self._request = None
