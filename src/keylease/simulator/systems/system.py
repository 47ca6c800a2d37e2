"""What every stand-in has: one credential, entries, and ways to misbehave."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from keylease.primitives.http1.simple import Request, Response

PAGE: Final = 2
"""Entries of a page, small so that every test turns pages."""
Json = dict[str, Any] | list[Any]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that the system keeps."""

    name: str
    container: str = ""
    environment: str = ""
    provider: str = ""
    preview: str = ""
    created: str = "2026-01-02T03:04:05Z"
    changed: str = "2026-05-06T07:08:09Z"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose credential was accepted."""

    method: str
    path: str
    """With percent-encoding undone, part by part: parts are joined by NUL."""
    query: dict[str, str]
    origin: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the path."""
        return tuple(self.path.split("\0"))

    def page(self) -> int:
        """Which page is asked for; counts from 1."""
        text = self.query.get("page", "1")
        return int(text) if text.isdigit() else 1


class Answered(msgspec.Struct, frozen=True):
    """What a stand-in says."""

    status: int
    body: Json = {}
    headers: tuple[tuple[str, str], ...] = ()


class System:
    """One stand-in. ``credential`` is kept as a hash; ``header`` is where it must be."""

    def __init__(
        self,
        answer: Callable[[tuple[Entry, ...], Asked], Answered],
        *,
        header: str,
        credential: str,
        entries: tuple[Entry, ...] = (),
    ) -> None:
        self.entries = entries
        self.throttled = 0
        """So many requests are answered 429 first."""
        self.failing = 0
        """So many requests are answered 503 first."""
        self.lying: bytes | None = None
        """Answered instead of everything."""
        self.asked: list[str] = []
        self._answer = answer
        self._header = header
        self._digest = hashlib.sha256(credential.encode()).digest()

    async def __call__(self, request: Request) -> Response:
        """Answer one request, for ``http1.simple.serve``."""
        self.asked.append(f"{request.method} {request.path}")
        given = hashlib.sha256(request.headers.get(self._header, "").encode()).digest()
        if not hmac.compare_digest(given, self._digest):
            return _json(Answered(401, {"message": "Bad credentials"}))
        if self.throttled:
            self.throttled -= 1
            return _json(Answered(429, {"message": "slow down"}, (("Retry-After", "0"),)))
        if self.failing:
            self.failing -= 1
            return _json(Answered(503, {"message": "later"}))
        if self.lying is not None:
            return Response(200, [("Content-Type", "application/json")], self.lying)
        asked = Asked(
            method=request.method,
            path="\0".join(unquote(part) for part in request.path.strip("/").split("/")),
            query={name: values[-1] for name, values in parse_qs(request.query).items()},
            origin=f"http://{request.headers.get('host', '')}{request.path}",
        )
        return _json(self._answer(self.entries, asked))


def linked(items: list[dict[str, Any]], asked: Asked, *, below: str = "") -> Answered:
    """A page of a list with the next one in a ``Link`` header (RFC 8288)."""
    number = asked.page()
    start = (number - 1) * PAGE
    shown: Json = items[start : start + PAGE]
    if below:
        shown = {"total_count": len(items), below: shown}
    headers: tuple[tuple[str, str], ...] = ()
    if start + PAGE < len(items):
        headers = (("Link", f'<{asked.origin}?page={number + 1}>; rel="next"'),)
    return Answered(200, shown, headers)


def _json(answered: Answered) -> Response:
    headers = [("Content-Type", "application/json"), *answered.headers]
    return Response(answered.status, headers, msgspec.json.encode(answered.body))
