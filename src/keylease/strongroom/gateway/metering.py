"""Reads token usage from a provider's answer while it passes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from keylease.contracts.call_records import Usage
from keylease.strongroom.catalogue import WireFormat


class MeteredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer said about itself."""

    usage: Usage | None = None
    """``None`` when the provider's numbers did not arrive or could not be read."""
    response_model: str = ""
    object_id: str = ""
    """The identifier of what was created: ``chatcmpl-...``, ``resp_...``, ``file-...``."""
    complete: bool = False
    """The answer came to its own end; false for a stream that was cut off."""


class UsageMeter(Protocol):
    """Sees every byte of one answer's body, in order. Never raises, whatever it is fed."""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        ...

    def finish(self) -> MeteredAnswer:
        """Say what was found; called once, at the end or when the answer broke off."""
        ...


class StreamFilter:
    """Removes the usage chunk that exists only because the gateway asked for it."""

    def __init__(self, wire_format: WireFormat) -> None:
        raise NotImplementedError

    def feed(self, chunk: bytes) -> bytes:
        """Give the bytes to pass on now; may be empty."""
        raise NotImplementedError

    def finish(self) -> bytes:
        """Give what was still held back when the stream ended."""
        raise NotImplementedError


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """An upper bound of what a call will use, before it is sent."""

    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def meter_for(wire_format: WireFormat, operation: str, *, streamed: bool) -> UsageMeter:
    """Make the meter for one answer."""
    raise NotImplementedError


def estimate_input_tokens(body: bytes) -> int:
    """Bound the input tokens of a request body from above."""
    raise NotImplementedError


def reserve_for(
    body: bytes, *, operation: str, model: str, max_tokens: int | None = None, choices: int = 1
) -> Reservation:
    """Bound what a call may use; ``max_tokens`` is whichever of its three names the body has."""
    raise NotImplementedError
