"""Routers of resources, whose bodies must not contain a key.

Protects: somebody pastes a provider key into a form or a script. The request is refused with 422
    before anything of it is stored or logged, and the answer does not repeat it. Searching costs a
    fraction of a second for each MiB, so a large body is neither read nor searched for somebody who
    has not shown who they are, and the search of one does not hold up other requests.
Does not protect: a secret without a form that ``detectors`` know.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final
from urllib.parse import unquote_plus

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from keylease import detectors
from keylease.errors import InputInvalid, SecretInRequest
from keylease.platform.server.guard import evidence_of
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import path_of, query_of

_LARGE: Final = 256 * 1024
"""Bytes; every form and almost every script sends less."""
_ESCAPED_NUL: Final = re.compile(r"\\u0000")
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class KeylessRoute(APIRoute):
    """A route that refuses what looks like a key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind our check."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if _may_be_large(request):
                await request.app.state.services.authenticator.authenticate(evidence_of(request))
            body = (await request.body()).decode("utf-8", "replace")
            if len(body) > _LARGE:
                await asyncio.to_thread(_check, body, request)
            else:
                _check(body, request)
            return await handler(request)

        return checked


def _may_be_large(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        return int(length) > _LARGE
    return "transfer-encoding" in request.headers


def _check(body: str, request: Request) -> None:
    refuse_unstorable(body)
    query = query_of(request)
    refuse_unstorable(unquote_plus(query) + path_of(request))
    if any(map(detectors.looks_like_secret, _readings(body, query))):
        raise SecretInRequest(
            "The request contains something that looks like a key. Nothing was stored.",
            advice="Put the key into your secret store and send its reference, such as "
            "vault://mount/path#field. A key that was sent somewhere should be replaced.",
        )


def refuse_unstorable(text: str) -> None:
    """Raise ``InputInvalid`` for characters that no database keeps: NUL, half of a pair."""
    nul = "\0" in text or _ESCAPED_NUL.search(text)
    if nul or (_ESCAPED_SURROGATE.search(text) and _has_lone_surrogate(text)):
        raise InputInvalid(
            "The request contains characters that cannot be stored: NUL, or half of a pair.",
            advice="Send text as UTF-8 without NUL characters.",
        )


def _has_lone_surrogate(text: str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False  # not JSON: the route says so
    return False


def _readings(body: str, query: str) -> Iterator[str]:
    """What was sent, as it came and as it will be read: escapes must not hide a key."""
    yield body
    yield query
    if "%" in query or "+" in query:
        yield unquote_plus(query)
    if "\\" in body:
        try:
            yield json.dumps(json.loads(body), ensure_ascii=False)
        except (ValueError, RecursionError):
            return  # no JSON: whatever reads it refuses it


def resource_router(*, prefix: str, tag: str) -> APIRouter:
    """A router for one resource below ``/v1``."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=KeylessRoute,
        responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 503),
    )
