"""Bounds of both sides: sizes in bytes, times in seconds."""

from __future__ import annotations

import msgspec


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may ask of a server."""

    header_bytes: int = 64 * 1024
    """The whole head, request line included; more is answered with 431."""
    header_count: int = 100
    target_bytes: int = 8 * 1024
    """RFC 9112 section 3 asks for at least 8,000."""
    body_bytes: int = 512 * 1024 * 1024
    """The most that any route takes; more is answered with 413. A handler may draw the line
    earlier for its own route."""
    pipeline_bytes: int = 64 * 1024
    """Bytes of later requests that are held while one is answered; reading pauses beyond it."""
    header_seconds: float = 15.0
    """For a whole head, from the connection or from its first byte."""
    body_seconds: float = 120.0
    """Between two pieces of a body."""
    idle_seconds: float = 75.0
    """Between an answer and the next request."""
    write_seconds: float = 120.0
    """For a client that takes nothing of an answer while we are held up by it."""
    linger_seconds: float = 2.0
    """For a client to read an answer that closes the connection before its request was whole."""
    connections: int = 10_000
    """More are answered with 503 and closed."""


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool may hold of one origin, and how long it waits for it."""

    connections: int = 512
    waiting: int = 1024
    """Requests that wait for a connection; more fail at once with ``pool_full``."""
    waiting_seconds: float = 15.0
    connect_seconds: float = 10.0
    """Finding the address, connecting and TLS together."""
    response_seconds: float = 600.0
    """From the end of a request to the head of its answer, between two pieces of the answer, and
    for an upstream that takes nothing of a request's body."""
    idle_seconds: float = 30.0
    header_bytes: int = 64 * 1024
    header_count: int = 200
    interim_responses: int = 16
    """1xx answers before the final one."""


def sweep_interval(*seconds: float) -> float:
    """How often time-outs are looked at: a quarter of the shortest, within 20 ms and 1 s."""
    return min(1.0, max(0.02, min(seconds) / 4))
