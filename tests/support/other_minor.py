"""The link as the version before this one, or the one after it, would speak it.

``AnswersOf(app, changed)`` stands before the real platform and rewrites what it answers gateways.
What gateways send is signed as bytes, so it is rewritten before that: ``older`` and ``newer`` are
for bodies of either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keylease.contracts import platform_link as wire

Document = dict[str, Any]


def older(message: msgspec.Struct) -> Document:
    """Without whatever an older writer leaves out: every member that has a default."""
    required = {f.encode_name for f in msgspec.structs.fields(message) if f.required}
    written = _document(message)
    plain = msgspec.structs.fields(message)
    usual = {f.encode_name: f.default for f in plain}
    return {
        name: value
        for name, value in written.items()
        if name in required or (name != "link" and msgspec.to_builtins(usual[name]) != value)
    }


def newer(message: msgspec.Struct) -> Document:
    """With another version, and with members that nobody knows yet, also further in."""
    document = _document(message)
    for value in document.values():
        if isinstance(value, dict):
            value["of_tomorrow"] = {"a": [1]}
    return {**document, "link": wire.LINK_VERSION + 1, "of_tomorrow": [{"a": 1}]}


def _document(message: msgspec.Struct) -> Document:
    # As the bytes have it: what is binary stays readable for both encodings.
    return dict(msgspec.json.decode(msgspec.json.encode(message)))


class AnswersOf:
    """Middleware that rewrites the JSON with which a platform answers gateways."""

    def __init__(self, app: ASGIApp, change: Callable[[Document], Document]) -> None:
        self._app = app
        self._change = change
        self.changed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not str(scope["path"]).startswith("/v1/link/"):
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def rewritten(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            if start["status"] < 300:
                body = msgspec.json.encode(self._change(msgspec.json.decode(body)))
                self.changed += 1
            kept = [header for header in start["headers"] if header[0] != b"content-length"]
            length = (b"content-length", str(len(body)).encode())
            await send({**start, "headers": [*kept, length]})
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, rewritten)


def without(document: Mapping[str, Any], *names: str) -> Document:
    """A document that lacks members."""
    return {name: value for name, value in document.items() if name not in names}
