"""One call through the loopback agent: the program's request out, the gateway's answer back."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from keylease.errors import KeyleaseError
from keylease.primitives.http1.interfaces import (
    Headers,
    Pool,
    RequestHead,
    Responder,
    ResponseHead,
    UpstreamFailure,
    UpstreamRequest,
)
from keylease.primitives.http1.rendering import render_fields
from keylease.primitives.tasks import TaskOwner

CREDENTIAL_FIELDS: Final = frozenset(
    {b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"}
)
"""Where providers' SDKs put their key."""
JSON_TYPE: Final[Headers] = [(b"content-type", b"application/json")]
_NOT_FORWARDED: Final = CREDENTIAL_FIELDS | {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"cookie",
    b"proxy-authorization",
}
_HELD_BYTES: Final = 64 * 1024
"""How much of a body is taken while a lease is being fetched."""
_UNAUTHORIZED: Final = 401


class Leases(Protocol):
    """``leases.LeaseSource``, as far as the agent needs it."""

    async def current(self) -> str:
        """A lease that is good for at least a few seconds; raises ``KeyleaseError``."""
        ...

    def forget(self) -> None:
        """Drop the lease at hand."""
        ...


class AgentCall:
    """Handles one request; both directions are streamed with back-pressure."""

    def __init__(
        self,
        head: RequestHead,
        responder: Responder,
        *,
        pool: Pool,
        leases: Leases,
        tasks: TaskOwner,
    ) -> None:
        self._head = head
        self._responder = responder
        self._pool = pool
        self._leases = leases
        self._upstream: UpstreamRequest | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._complete = False
        self._refused = False
        self._task = tasks.start(self._begin(), name="keylease-run-call")

    async def _begin(self) -> None:
        try:
            lease = await self._leases.current()
        except KeyleaseError as error:
            self._refused = True
            self._responder.resume_reading()
            self._responder.send(503, JSON_TYPE, error_body(error.message, error.code))
            return
        head = self._head
        try:
            upstream = self._pool.request(
                method=head.method,
                target=head.target,
                headers=render_fields(_forwarded(head.headers, lease)),
                receiver=_Answer(self._responder, self._leases),
                body=None if head.has_body else b"",
                content_length=head.content_length if head.has_body else None,
            )
        except ValueError:
            self._refused = True
            self._responder.resume_reading()
            body = error_body("The request cannot be passed on as it is.", "request_malformed")
            self._responder.send(400, JSON_TYPE, body)
            return
        self._upstream = upstream
        for piece in self._held:
            upstream.write(piece)
        self._held.clear()
        self._responder.resume_reading()
        if self._complete and head.has_body:
            upstream.finish()

    def body_received(self, data: bytes) -> None:
        """Pass a piece on, or keep it until there is a lease."""
        if self._upstream is not None:
            self._upstream.write(data)
        elif not self._refused:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes > _HELD_BYTES:
                self._responder.pause_reading()

    def request_complete(self) -> None:
        """The body is whole."""
        self._complete = True
        if self._upstream is not None and self._head.has_body:
            self._upstream.finish()

    def client_gone(self) -> None:
        """Give the call up, so that nothing is generated for nobody."""
        self._task.cancel()
        if self._upstream is not None:
            self._upstream.cancel()

    def pause_writing(self) -> None:
        """The program reads slowly: so do we."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_writing(self) -> None:
        """The program caught up."""
        if self._upstream is not None:
            self._upstream.resume_reading()


class _Answer:
    """Passes the gateway's answer on, piece for piece."""

    def __init__(self, responder: Responder, leases: Leases) -> None:
        self._responder = responder
        self._leases = leases
        self._begun = False

    def head_received(self, head: ResponseHead) -> None:
        if head.status == _UNAUTHORIZED:
            self._leases.forget()  # revoked, or of a gateway that was set up anew
        self._begun = True
        headers = [field for field in head.headers if field[0] != b"content-length"]
        self._responder.start(head.status, headers, content_length=head.content_length)

    def data_received(self, data: bytes) -> None:
        self._responder.write(data)

    def response_complete(self) -> None:
        self._responder.finish()

    def failed(self, failure: UpstreamFailure) -> None:
        if self._begun:
            # The program must not take what it has for the whole answer.
            self._responder.abort()
        elif failure.sent:
            message = "The gateway broke the connection; whether the call was made is unknown."
            self._responder.send(502, JSON_TYPE, error_body(message, "upstream_broken"))
        else:
            message = "The gateway cannot be reached. Is it running?"
            self._responder.send(503, JSON_TYPE, error_body(message, "gateway_not_running"))

    def pause_writing(self) -> None:
        self._responder.pause_reading()

    def resume_writing(self) -> None:
        self._responder.resume_reading()


def error_body(message: str, code: str) -> bytes:
    """An error in a shape that the SDKs of OpenAI and of Anthropic both read."""
    return msgspec.json.encode(
        {"type": "error", "error": {"type": "keylease_agent", "code": code, "message": message}}
    )


def _forwarded(headers: Headers, lease: str) -> Headers:
    kept = [field for field in headers if field[0] not in _NOT_FORWARDED]
    return [*kept, (b"authorization", f"Bearer {lease}".encode())]
