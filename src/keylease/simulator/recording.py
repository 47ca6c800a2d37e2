"""What a simulated provider remembers of the requests it got, for tests to look at.

Values of fields that authenticate are replaced by the beginning of their hash: a test can tell
which key was sent without the simulator holding it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from enum import StrEnum
from typing import Final

import msgspec

from keylease.simulator.exchange import ProviderName

AUTHENTICATING: Final = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie"}
)
KEPT_BODY_BYTES: Final = 64 * 1024


class Outcome(StrEnum):
    """How the answer ended."""

    PENDING = "pending"
    ANSWERED = "answered"
    CLIENT_GONE = "client_gone"
    BROKEN = "broken"
    """Broken off by the simulator itself, on purpose."""


class RecordedRequest(msgspec.Struct, kw_only=True):
    """One request, without what authenticates it."""

    number: int
    provider: ProviderName
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    """In the order they came; of a repeated field the first, and no hop-by-hop fields."""
    body: bytes
    """Its first 64 KiB."""
    body_length: int
    key_id: str
    """Empty when the key was not accepted."""
    status: int = 0
    outcome: Outcome = Outcome.PENDING

    def header(self, name: str) -> str | None:
        """The first value of a field."""
        return next((value for key, value in self.headers if key == name), None)


def fingerprint(value: str) -> str:
    """What is recorded in the place of a value that authenticates."""
    return "sha256:" + hashlib.sha256(value.encode("latin-1")).hexdigest()[:12]


def without_authentication(
    headers: dict[str, str],
) -> tuple[tuple[str, str], ...]:
    """Field lines as they are recorded; a ``Bearer`` prefix is kept and its token hashed."""
    kept: list[tuple[str, str]] = []
    for name, value in headers.items():
        if name not in AUTHENTICATING:
            kept.append((name, value))
            continue
        scheme, separator, token = value.partition(" ")
        if separator:
            kept.append((name, f"{scheme} {fingerprint(token)}"))
        else:
            kept.append((name, fingerprint(value)))
    return tuple(kept)


class Recording:
    """The last requests, up to a bound."""

    def __init__(self, keep: int) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=keep)
        self.total = 0
        """All requests, also those that are no longer kept."""

    def add(self, request: RecordedRequest) -> None:
        """Remember a request."""
        self.requests.append(request)
        self.total += 1

    def clear(self) -> None:
        """Forget the requests; the total stays."""
        self.requests.clear()
