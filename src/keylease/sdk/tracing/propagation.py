"""Lets a call through the gateway join the trace of who makes it: the header ``traceparent``.

Only clients that are handed in are changed, by hooks that httpx calls for each request.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeVar

from keylease.errors import InputInvalid
from keylease.sdk.tracing.traced import is_installed

_HOOKS: Final = "event_hooks"
_REQUEST: Final = "request"


class Request(Protocol):
    """What a hook gets of httpx."""

    headers: Any


Client = TypeVar("Client")


def propagate(client: Client) -> Client:
    """Send the current span's context with every request of a client; gives the client.

    For ``httpx.Client``, ``httpx.AsyncClient``, and the clients of OpenAI's and Anthropic's SDKs.
    Whom the client talks to learns the identifiers of trace and span, nothing else. Raises
    ``InputInvalid`` for a client of another kind.
    """
    inner = client if hasattr(client, _HOOKS) else getattr(client, "_client", None)
    hooks = getattr(inner, _HOOKS, None)
    if not isinstance(hooks, dict):
        raise InputInvalid(
            "This client has no hooks of httpx.", advice="Hand in the httpx client that it uses."
        )
    hook = add_traceparent_async if hasattr(inner, "aclose") else add_traceparent
    known = hooks.setdefault(_REQUEST, [])
    if is_installed() and hook not in known:
        known.append(hook)
    return client


def add_traceparent(request: Request) -> None:
    """A hook of ``httpx.Client`` for requests."""
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    # The state of other tracing systems stays here.
    if "traceparent" in carrier and "traceparent" not in request.headers:
        request.headers["traceparent"] = carrier["traceparent"]


async def add_traceparent_async(request: Request) -> None:
    """A hook of ``httpx.AsyncClient`` for requests."""
    add_traceparent(request)
