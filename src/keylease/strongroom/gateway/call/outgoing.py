"""What is sent to the provider: the caller's body, and only what must be different in it."""

from __future__ import annotations

from typing import Final

from keylease.strongroom.gateway.call.accounting import Account
from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.call.forms import FormBody
from keylease.strongroom.gateway.providers.interfaces import BodyKind, Operation, Surface


class Outgoing:
    """A request's body as it leaves."""

    __slots__ = ("body", "strip_usage")

    def __init__(self, body: bytes | None, *, strip_usage: bool = False) -> None:
        self.body: Final = body
        """``None``: it follows piece by piece."""
        self.strip_usage: Final = strip_usage
        """The stream was asked for a usage chunk that the caller did not ask for."""


def render(
    operation: Operation, surface: Surface, body: JsonBody | FormBody | None, account: Account
) -> Outgoing:
    """Rename the model for the target, and ask a stream for its usage."""
    if body is None:
        return Outgoing(None if operation.body is BodyKind.UPLOAD else b"")
    renamed = ""
    if not operation.any_model and account.upstream_model != body.model:
        renamed = account.upstream_model
    if isinstance(body, FormBody):
        return Outgoing(body.rewritten(model=renamed))
    if operation.batch:
        return Outgoing(body.with_models({account.model: account.upstream_model}))
    asks = body.streamed and operation.name in surface.ask_for_usage and not body.asks_for_usage
    return Outgoing(body.rewritten(model=renamed, include_usage=asks), strip_usage=asks)


def target_of(prefix: str, operation: Operation, object_id: str, query: str) -> bytes:
    """The request target below the upstream's base URL."""
    tail = operation.template
    if object_id:
        tail = tail.replace("{id}", object_id)
    if query:
        return f"{prefix}{tail}?{query}".encode("ascii")
    return f"{prefix}{tail}".encode("ascii")
