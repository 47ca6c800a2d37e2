"""Requests of a connector to its one origin: bounded, patient when throttled, never elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec

from keylease.errors import (
    ConnectorAnswerInvalid,
    ConnectorDenied,
    ConnectorThrottled,
    ConnectorUnreachable,
    EgressRefused,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.egress import guarded_client
from keylease.primitives.egress.client import AllowPrivate

MAXIMUM_PAGES: Final = 1000
"""Of one list: a system that gives a next page for ever is not followed for ever."""
MAXIMUM_REQUESTS: Final = 50_000
"""Of one conversation: lists of lists multiply."""
_MAXIMUM_ANSWER: Final = 16 * 1024 * 1024
_TIMEOUT: Final = 30.0
_ATTEMPTS: Final = 4
_LONGEST_PAUSE: Final = 60.0
_PAUSES: Final = (0.5, 1.0, 2.0)
_DENIED: Final = {401, 403}
_LATER: Final = {429, 500, 502, 503, 504}
_NEXT: Final = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')
_DOTS: Final = frozenset({".", ".."})
Sleep = Callable[[float], Awaitable[None]]
Query = Mapping[str, str | int]


class Session:
    """One conversation with one system."""

    def __init__(
        self,
        *,
        system: str,
        origin: str,
        headers: dict[str, str],
        allow_private: AllowPrivate = False,
        ca_file: str | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``origin`` is the only place where ``headers`` ever go."""
        self.system = system
        self._requests = 0
        self._origin = origin.rstrip("/")
        self._sleep = sleep
        self._client = guarded_client(
            allow_private=allow_private,
            timeout=_TIMEOUT,
            maximum_bytes=_MAXIMUM_ANSWER,
            ca_file=ca_file,
            headers=headers,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def get(
        self, path: str, query: Query | None = None, *, absent_is_none: bool = False
    ) -> Any:  # noqa: ANN401 - JSON
        """What a path answers, as JSON. ``absent_is_none`` makes ``None`` of a 404."""
        answer = await self._ask("GET", path, query or {})
        if absent_is_none and answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return self._json(answer)

    async def list(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What a path answers to Vault's LIST; ``None`` when there is nothing."""
        answer = await self._ask("LIST", path, {})
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._json(answer)

    async def linked_pages(self, path: str, query: Query | None = None) -> AsyncIterator[Any]:
        """Pages that name the next one in a ``Link`` header (RFC 8288); none for a 404."""
        seen = {path}
        for _ in range(MAXIMUM_PAGES):
            answer = await self._ask("GET", path, query or {})
            if answer.status_code == httpx.codes.NOT_FOUND:
                return
            yield self._json(answer)
            following = _NEXT.search(answer.headers.get("link", ""))
            if following is None:
                return
            path, query = self._within(following[1]), {}
            if path in seen:
                break
            seen.add(path)
        raise ConnectorAnswerInvalid(f"{self.system} gives pages without an end.")

    def _within(self, url: str) -> str:
        """The path and query of a link, which must stay at the origin."""
        own = urlsplit(self._origin)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConnectorAnswerInvalid(f"{self.system} names a page that is none.") from None
        if (parts.scheme or own.scheme, parts.netloc or own.netloc) != (own.scheme, own.netloc):
            raise ConnectorAnswerInvalid(f"{self.system} sends its next page to another host.")
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def _url(self, path: str) -> httpx.URL:
        """Where a path is. What an answer makes of a path must not become part of the host."""
        try:
            url, own = httpx.URL(self._origin + path), httpx.URL(self._origin)
        except httpx.InvalidURL:
            raise ConnectorAnswerInvalid(f"{self.system} names a path that is none.") from None
        if not _DOTS.isdisjoint(unquote(path.partition("?")[0]).split("/")):
            raise ConnectorAnswerInvalid(f"{self.system} names a path that leads elsewhere.")
        place = (url.scheme, url.host, url.port, url.userinfo)
        if not path.startswith("/") or place != (own.scheme, own.host, own.port, b""):
            raise ConnectorAnswerInvalid(f"{self.system} sends its next page to another host.")
        return url

    async def _ask(self, method: str, path: str, query: Query) -> httpx.Response:
        failure, url = "did not answer", self._url(path)
        for attempt in range(_ATTEMPTS):
            self._requests += 1
            if self._requests > MAXIMUM_REQUESTS:
                raise ConnectorAnswerInvalid(
                    f"{self.system} takes more than {MAXIMUM_REQUESTS:,} requests to list."
                )
            try:
                answer = await self._client.request(method, url, params=dict(query) or None)
            except (httpx.HTTPError, EgressRefused, TimeoutError) as error:
                if isinstance(error, EgressRefused):
                    raise ConnectorUnreachable(
                        f"{self.system} is not asked: {error.message}", advice=error.advice
                    ) from error
                failure = f"cannot be reached ({type(error).__name__})"
                await self._pause(attempt, None)
                continue
            if answer.status_code in _LATER or _is_throttled(answer):
                failure = f"answered {answer.status_code}"
                await self._pause(attempt, answer)
                continue
            self._check(answer)
            return answer
        raise ConnectorUnreachable(
            f"{self.system} {failure} in {_ATTEMPTS} attempts.", advice="Try again later."
        )

    async def _pause(self, attempt: int, answer: httpx.Response | None) -> None:
        if attempt + 1 >= _ATTEMPTS:
            return
        asked = _retry_after(answer) if answer is not None else None
        if asked is not None and asked > _LONGEST_PAUSE:
            raise ConnectorThrottled(
                f"{self.system} asks to come back in {asked:.0f} s.", advice="Try again then."
            )
        await self._sleep(asked if asked is not None else _PAUSES[attempt])

    def _check(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in _DENIED:
            raise ConnectorDenied(
                f"{self.system} answered {status}: the credential is wrong, or may not list.",
                advice="docs/guides/connectors.md says which permission each system needs.",
            )
        if status != httpx.codes.NOT_FOUND and not answer.is_success:
            raise ConnectorAnswerInvalid(f"{self.system} answered {status}.")

    def _json(self, answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise ConnectorDenied(
                f"{self.system} knows no such account, or does not show it to this credential."
            )
        try:
            found = msgspec.json.decode(answer.content)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if found is None:  # null too: it must not be taken for "not there"
            raise ConnectorAnswerInvalid(f"{self.system} did not answer JSON.")
        return found


def _is_throttled(answer: httpx.Response) -> bool:
    """GitHub's 403 when the rate limit is used up."""
    return answer.status_code == httpx.codes.FORBIDDEN and (
        answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    )


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - of seconds


def segment(text: str) -> str:
    """A part of a path, from a name that the system or the user gave."""
    return quote(text, safe="")


def moment(text: object) -> int:
    """Microseconds UTC of an ISO 8601 time; 0 for what is none."""
    if not isinstance(text, str):
        return 0
    try:
        return round(datetime.fromisoformat(text).timestamp() * MICROSECONDS)
    except (ValueError, OverflowError):
        return 0


def items_of(answer: Any, *names: str) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """The objects of a list, which lies below the first of ``names`` that is there.

    Raises ``ConnectorAnswerInvalid``: an unknown form must not read as "nothing there".
    """
    found = answer
    for name in names:
        if isinstance(answer, dict) and name in answer:
            found = answer[name]
            break
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ConnectorAnswerInvalid("The answer holds no list where its published form has one.")
    return found


def part_of(answer: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The object that an answer has under a name; empty when there is none."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def text_of(item: dict[str, Any], *names: str, limit: int = 300) -> str:
    """The first of these members that is a text, bounded; empty when none is."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value:
            return value[:limit]
    return ""
