"""One conversation with the platform's API, for the commands that need the platform.

The API key comes from a file, never from the command line, where every user of the machine could
read it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec

from keylease.cli.options import ApiKeyFile, Server, settings_from
from keylease.errors import ApiProblem, NotSignedIn, ServerUnreachable, SettingsInvalid
from keylease.primitives.egress.client import DEFAULT_TIMEOUT, guarded_client
from keylease.primitives.files import read_bounded

__all__ = ["Answer", "ApiKeyFile", "PlatformConnection", "Server", "connected"]
_LARGEST_ANSWER: Final = 32 * 1024 * 1024
_LARGEST_STREAM: Final = 2**40
_STREAM_SECONDS: Final = 24 * 3600.0
_MAXIMUM_KEY_FILE: Final = 4096
_UNAUTHORIZED: Final = 401
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
        answer = self._send(self._client.request(method, target, content=content, headers=headers))
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

    def stream(self, path: str, *, query: Mapping[str, object] | None = None) -> Iterator[bytes]:
        """A body of any length, piece by piece. Raises as ``ask`` does."""
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

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {name: value for name, value in (query or {}).items() if value not in ("", None)}
        return self._url + path + (f"?{urlencode(given, doseq=True)}" if given else "")

    def _send(self, request: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        try:
            return self._runner.run(request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        return ServerUnreachable(
            f"{self._url} cannot be reached: {type(error).__name__}.",
            advice="Is the server running, and is this its address?",
        )

    def _decoded(self, content: bytes) -> Any:  # noqa: ANN401 - JSON
        try:
            return msgspec.json.decode(content or b"null")
        except msgspec.DecodeError as error:
            raise ServerUnreachable(f"{self._url} does not answer as the platform does.") from error

    def _problem(self, status: int, content: bytes) -> ApiProblem | NotSignedIn:
        return _problem(status, self._decoded(content))

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
    url = (server or _default_url()).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsInvalid("That is not the address of a server.", advice="Such as https://...")
    with asyncio.Runner() as runner:
        client = guarded_client(
            allow_private=True,
            timeout=seconds,
            maximum_bytes=_LARGEST_ANSWER,
            headers=_authorization(api_key_file),
        )
        try:
            yield PlatformConnection(url, client, runner)
        finally:
            runner.run(client.aclose())


def _default_url() -> str:
    settings = settings_from(data_dir=None, config_dir=None)
    port = settings.server_listen.rpartition(":")[2]
    return settings.public_url or f"http://localhost:{port}"


def _authorization(api_key_file: Path | None) -> dict[str, str]:
    if api_key_file is None:
        return {}
    try:
        key = read_bounded(api_key_file, maximum=_MAXIMUM_KEY_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{api_key_file} cannot be read as an API key.") from error
    return {"Authorization": f"Bearer {key}"}


def _problem(status: int, document: Any) -> ApiProblem | NotSignedIn:  # noqa: ANN401 - JSON
    if not isinstance(document, dict):
        document = {}
    detail = str(document.get("detail") or f"The server answers with status {status}.")
    parts = [
        f"  {part.get('location', '')}: {part.get('message', '')}"
        for part in document.get("errors", ())
        if isinstance(part, dict)
    ]
    advice = str(document.get("advice", ""))
    if status == _UNAUTHORIZED:
        return NotSignedIn(detail, advice="Sign in, or give an API key with --api-key-file.")
    return ApiProblem(
        "\n".join([detail, *parts]),
        status=status,
        reason=str(document.get("code", "")),
        advice="" if parts else advice,
    )


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)
