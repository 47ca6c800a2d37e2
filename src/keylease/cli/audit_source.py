"""The audit log of a server, as the command line reads it.

The API key comes from a file, never from the command line, where every user of the machine could
read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec

from keylease.errors import ApiProblem, NotSignedIn, ServerUnreachable, SettingsInvalid
from keylease.primitives.egress.client import guarded_client
from keylease.primitives.files import read_bounded

_LARGEST_ANSWER: Final = 32 * 1024 * 1024
"""Bytes of one file of a log or of one page."""
_LARGEST_EXPORT: Final = 2**40
_EXPORT_SECONDS: Final = 24 * 3600.0
_MAXIMUM_KEY_FILE: Final = 4096


class ServerLog:
    """One server; a ``TileSource``. Use it as a context manager."""

    def __init__(self, url: str, *, api_key_file: Path | None) -> None:
        """Raises ``SettingsInvalid`` for what is no address, or no file with a key."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsInvalid(f"{url} is not the address of a server.")
        self._url = url.rstrip("/")
        self._headers = _authorization(api_key_file)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._client = guarded_client(
            allow_private=True, maximum_bytes=_LARGEST_ANSWER, headers=self._headers
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.__exit__(kind, error, trace)

    def read(self, path: str) -> bytes | None:
        """A file of the log; see ``TileSource``."""
        return self._get(f"/v1/audit/log/{quote(path)}", missing=True)

    def ask(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        """A JSON answer below ``/v1/audit``. Raises ``ApiError``."""
        given = {name: value for name, value in query.items() if value not in ("", None)}
        data = self._get(f"/v1/audit/{path}" + (f"?{urlencode(given)}" if given else ""))
        try:
            return msgspec.json.decode(data or b"null")
        except msgspec.DecodeError as error:
            raise ServerUnreachable(f"{self._url} does not answer as the platform does.") from error

    def raw_entry(self, index: int) -> bytes:
        """The bytes of an entry that were hashed."""
        return self._get(f"/v1/audit/entries/{index}/raw") or b""

    def export(self, query: dict[str, object]) -> Iterator[bytes]:
        """The bytes of an export, as they come."""
        stream = self._export(query)
        while True:
            piece = self._runner.run(_next(stream))
            if piece is None:
                return
            yield piece

    async def _export(self, query: dict[str, object]) -> AsyncIterator[bytes]:
        given = {name: value for name, value in query.items() if value not in ("", None, [])}
        target = f"{self._url}/v1/audit/export?{urlencode(given, doseq=True)}"
        async with guarded_client(
            allow_private=True,
            timeout=_EXPORT_SECONDS,
            maximum_bytes=_LARGEST_EXPORT,
            headers=self._headers,
        ) as client:
            try:
                async with client.stream("GET", target) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise _problem(answer.status_code, await answer.aread())
                    async for piece in answer.aiter_bytes():
                        yield piece
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error

    def _get(self, target: str, *, missing: bool = False) -> bytes | None:
        try:
            answer = self._runner.run(self._client.get(self._url + target))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status_code == httpx.codes.NOT_FOUND and missing:
            return None
        if answer.status_code != httpx.codes.OK:
            raise _problem(answer.status_code, answer.content)
        return answer.content

    def _unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        return ServerUnreachable(
            f"{self._url} cannot be reached: {type(error).__name__}.",
            advice="Is the server running, and is this its address?",
        )


def _authorization(api_key_file: Path | None) -> dict[str, str]:
    if api_key_file is None:
        return {}
    try:
        key = read_bounded(api_key_file, maximum=_MAXIMUM_KEY_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{api_key_file} cannot be read as an API key.") from error
    return {"Authorization": f"Bearer {key}"}


def _problem(status: int, body: bytes) -> ApiProblem | NotSignedIn:
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        document = {}
    detail = str(document.get("detail") or f"The server answers with status {status}.")
    advice = str(document.get("advice", ""))
    if status == httpx.codes.UNAUTHORIZED:
        return NotSignedIn(
            detail, advice="Give an API key that has audit:read with --api-key-file."
        )
    return ApiProblem(detail, status=status, reason=str(document.get("code", "")), advice=advice)


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    return await anext(stream, None)
