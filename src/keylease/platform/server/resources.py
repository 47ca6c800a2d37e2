"""Routers of resources, whose bodies must not contain a key.

Protects: somebody pastes a provider key into a form or a script. The request is refused with 422
    before anything of it is stored or logged, and the answer does not repeat it.
Does not protect: a secret without a form that ``detectors`` know.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from keylease import detectors
from keylease.errors import SecretInRequest
from keylease.platform.server.problems import problem_responses


class KeylessRoute(APIRoute):
    """A route that refuses what looks like a key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind our check."""
        handler = super().get_route_handler()

        async def checked(request: Request) -> Response:
            body = (await request.body()).decode("utf-8", "replace")
            if detectors.looks_like_secret(body) or detectors.looks_like_secret(request.url.query):
                raise SecretInRequest(
                    "The request contains something that looks like a key. Nothing was stored.",
                    advice="Put the key into your secret store and send its reference, such as "
                    "vault://mount/path#field. A key that was sent somewhere should be replaced.",
                )
            return await handler(request)

        return checked


def resource_router(*, prefix: str, tag: str) -> APIRouter:
    """A router for one resource below ``/v1``."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=KeylessRoute,
        responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 503),
    )
