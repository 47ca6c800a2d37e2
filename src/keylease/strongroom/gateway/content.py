"""Prompt and answer text for call records, masked before it is kept."""

from __future__ import annotations

import msgspec

from keylease.strongroom.catalogue import WireFormat


class CapturedContent(msgspec.Struct, frozen=True, kw_only=True):
    """Masked text of one call."""

    input: str | None = None
    output: str | None = None
    truncated: bool = False


class ContentCapture:
    """Collects the text of one call. Never raises, whatever it is fed."""

    def __init__(
        self, wire_format: WireFormat, *, streamed: bool, limit_bytes: int = 65536
    ) -> None:
        raise NotImplementedError

    def request(self, body: bytes) -> None:
        """Take the request's JSON body."""
        raise NotImplementedError

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer's body."""
        raise NotImplementedError

    def finish(self) -> CapturedContent:
        """Mask, then cut to the limit."""
        raise NotImplementedError
