"""One conversation with the platform's API, for the commands that need the platform.

Who one is comes from `keylease login`, from KEYLEASE_API_KEY or from a file, never from the command
line, where every user of the machine could read it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec

from keylease.cli.options import ApiKeyFile, Server, settings_from
from keylease.errors import ApiProblem, NotSignedIn, ServerUnreachable, SettingsInvalid
from keylease.primitives.clock import SystemClock
from keylease.primitives.egress.client import DEFAULT_TIMEOUT, guarded_client
from keylease.primitives.files import read_bounded
from keylease.sdk.platform import (
    StoredSignIn,
    StoredSignIns,
    authorization,
    exchanged,
    not_the_platform,
    unreachable,
)
from keylease.settings import Settings

__all__ = ["Answer", "ApiKeyFile", "PlatformConnection", "Server", "connected"]
_LARGEST_ANSWER: Final = 32 * 1024 * 1024
_LARGEST_STREAM: Final = 2**40
_STREAM_SECONDS: Final = 24 * 3600.0
_MAXIMUM_KEY_FILE: Final = 4096
_UNAUTHORIZED: Final = 401
_UNAVAILABLE: Final = 503
_PAUSES: Final = (0.5, 2.0)
"""Seconds before a read that was answered with 503 is sent again."""
_FIRST_FAILURE: Final = 400


class Answer(msgspec.Struct, frozen=True):
    """What the platform answered."""

    status: int
    body: Any
    version: str
    """Of what was answered, as ``ETag`` has it; empty where there is none."""


class PlatformConnection:
    """Made by ``connected``."""

    def __init__(self, url: str, client: httpx.AsyncClient, runner: asyncio.Runner) -> None:
        self._url = url
        self._client = client
        self._runner = runner

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        version: str = "",
    ) -> Answer:
        """One request. Raises ``ApiProblem`` with what the platform says, and every mistake."""
        headers = {"If-Match": version} if version else {}
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        target = self._target(path, query)
        request = self._client.build_request(method, target, content=content, headers=headers)
        answer = self._send(self._sent(request, patient=method == "GET"))
        if answer.status_code >= _FIRST_FAILURE:
            raise self._problem(answer.status_code, answer.content)
        decoded = self._decoded(answer.content)
        return Answer(answer.status_code, decoded, answer.headers.get("etag", ""))

    def fetch(self, path: str) -> bytes:
        """The body of an answer as it is. Raises as ``ask`` does."""
        answer = self._send(self._client.get(self._target(path, None)))
        if answer.status_code >= _FIRST_FAILURE:
            raise self._problem(answer.status_code, answer.content)
        return answer.content

    def stream(
        self, path: str, *, query: Mapping[str, object] | None = None
    ) -> Generator[bytes, None, None]:
        """A body of any length, piece by piece; close it. Raises as ``ask`` does."""
        pieces = self._pieces(self._target(path, query))
        try:
            while (piece := self._runner.run(_next(pieces))) is not None:
                yield piece
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            self._runner.run(pieces.aclose())

    async def _pieces(self, target: str) -> AsyncGenerator[bytes, None]:
        sent = self._client.headers
        async with (
            guarded_client(
                allow_private=True,
                timeout=_STREAM_SECONDS,
                maximum_bytes=_LARGEST_STREAM,
                headers={name: sent[name] for name in ("Authorization",) if name in sent},
            ) as client,
            client.stream("GET", target) as answer,
        ):
            if answer.status_code >= _FIRST_FAILURE:
                raise self._problem(answer.status_code, await answer.aread())
            async for piece in answer.aiter_bytes():
                yield piece

    async def _sent(self, request: httpx.Request, *, patient: bool) -> httpx.Response:
        """Send it; what only reads is sent again when the platform cannot answer for a moment."""
        for pause in _PAUSES if patient else ():
            answer = await self._client.send(request)
            if answer.status_code != _UNAVAILABLE:
                return answer
            await asyncio.sleep(pause)
        return await self._client.send(request)

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {name: value for name, value in (query or {}).items() if value not in ("", None)}
        return self._url + path + (f"?{urlencode(given, doseq=True)}" if given else "")

    def _send(self, request: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        try:
            return self._runner.run(request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        return unreachable(self._url, error)

    def _decoded(self, content: bytes) -> Any:  # noqa: ANN401 - JSON
        try:
            return msgspec.json.decode(content or b"null")
        except msgspec.DecodeError as error:
            raise not_the_platform(self._url) from error

    def _problem(self, status: int, content: bytes) -> ApiProblem | NotSignedIn | ServerUnreachable:
        document = self._decoded(content)
        if not isinstance(document, dict) or not (document.get("detail") or document.get("code")):
            return not_the_platform(self._url)  # a gateway's errors are JSON, too
        return _problem(status, document)

    def pages(self, path: str, **query: object) -> Iterator[Any]:
        """The items of a list, page after page."""
        cursor = ""
        while True:
            page = self.ask("GET", path, query={**query, "cursor": cursor}).body
            yield from page["items"]
            cursor = page.get("next_cursor", "")
            if not cursor:
                return


@contextlib.contextmanager
def connected(
    server: str, api_key_file: Path | None, *, seconds: float = DEFAULT_TIMEOUT
) -> Iterator[PlatformConnection]:
    """A connection until the block ends. Raises ``SettingsInvalid`` for what is no address.

    ``seconds`` is for one request and its answer.
    """
    settings = settings_from(data_dir=None, config_dir=None)
    sign_ins = StoredSignIns(settings.config_dir)
    stored = sign_ins.read()
    url = platform_url(server, settings, stored=stored)
    with asyncio.Runner() as runner:
        api_key = _api_key(api_key_file) or settings.api_key
        if stored is not None and stored.server == url and not api_key:
            stored = runner.run(exchanged(stored, sign_ins, clock=SystemClock()))
        client = guarded_client(
            allow_private=True,
            timeout=seconds,
            maximum_bytes=_LARGEST_ANSWER,
            headers=authorization(url, api_key=api_key, stored=stored),
        )
        try:
            yield PlatformConnection(url, client, runner)
        finally:
            runner.run(client.aclose())


def platform_url(server: str, settings: Settings, *, stored: StoredSignIn | None) -> str:
    """The platform that a command talks to.

    The flag's; else the setting's; else where one is signed in; else this machine's.
    Raises ``SettingsInvalid`` for what is no address.
    """
    port = settings.server_listen.rpartition(":")[2]
    url = (
        server
        or settings.server_url
        or (stored.server if stored else "")
        or settings.public_url
        or f"http://localhost:{port}"
    ).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
        raise SettingsInvalid("That is not the address of a server.", advice="Such as https://...")
    return url


def _api_key(api_key_file: Path | None) -> str:
    if api_key_file is None:
        return ""
    try:
        return read_bounded(api_key_file, maximum=_MAXIMUM_KEY_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{api_key_file} cannot be read as an API key.") from error


def _problem(status: int, document: dict[str, Any]) -> ApiProblem | NotSignedIn:
    detail = str(document.get("detail") or f"The server answers with status {status}.")
    parts = [
        f"  {part.get('location', '')}: {part.get('message', '')}"
        for part in document.get("errors", ())
        if isinstance(part, dict)
    ]
    advice = str(document.get("advice", ""))
    if status == _UNAUTHORIZED:
        return NotSignedIn(
            detail, advice="Sign in with `keylease login`, or give an API key in KEYLEASE_API_KEY."
        )
    position = document.get("position")
    return ApiProblem(
        "\n".join([detail, *parts]),
        status=status,
        reason=str(document.get("code", "")),
        advice="" if parts else advice,
        position=position if isinstance(position, int) else None,
    )


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)
