"""What the client gets to see: which fields of an upstream's answer, and our own errors.

Protects: against headers of an upstream that say something about the account behind the
    credential, set cookies, redirect, or steer the client's connection.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import KeyleaseError, LeaseRefused, LimitReached, MethodNotAllowed
from keylease.primitives.http1.interfaces import Headers, Responder, ResponseHead
from keylease.primitives.http1.rendering import render_fields
from keylease.strongroom.gateway.providers.interfaces import Surface

REQUEST_ID: Final = b"x-request-id"
PROVIDER_REQUEST_ID: Final = b"x-provider-request-id"
_ALLOWED: Final = frozenset(
    {
        b"content-type",
        b"content-disposition",
        b"content-language",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"request-id",
        b"openai-model",
        b"openai-version",
        b"openai-processing-ms",
    }
)
_ALLOWED_BEGINNINGS: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")
_REQUEST_IDS: Final = frozenset({b"x-request-id", b"request-id"})
JSON_TYPE: Final = (b"content-type", b"application/json")
NO_STORE: Final = (b"cache-control", b"no-store")


class AnswerFields:
    """The fields of an upstream's answer, sorted by what happens to them."""

    __slots__ = ("encoded", "event_stream", "provider_request_id", "rendered", "without")

    def __init__(self, upstream: Headers) -> None:
        """Keep what the allow-list names; the request id is ours and comes besides."""
        self.encoded = False
        headers: Headers = []
        content_type = b""
        request_id = b""
        for field in upstream:
            name, value = field
            if name in _ALLOWED:
                if name == b"content-type":
                    content_type = value
                headers.append(field)
            elif name.startswith(_ALLOWED_BEGINNINGS):
                headers.append(field)
            elif name == b"content-encoding" and value.strip().lower() != b"identity":
                self.encoded = True
            if name in _REQUEST_IDS and not request_id:
                request_id = value
        if request_id:
            headers.append((PROVIDER_REQUEST_ID, request_id))
        self.event_stream = content_type[:17].lower() == b"text/event-stream"
        """The body is server-sent events."""
        self.provider_request_id = request_id.decode("latin-1")
        self.rendered = render_fields(headers)
        """A secret has no line breaks, so joining the fields joins no parts of one."""
        self.without = 0
        """Number of an ``Authentication`` whose secret is not in them; 0 until one was looked
        for."""

    @classmethod
    def of(cls, head: ResponseHead) -> AnswerFields:
        """The fields of ``head``, sorted once for all answers that share it."""
        known = head.notes
        if type(known) is cls:
            return known
        fields = head.notes = cls(head.headers)
        return fields


def send_error(
    responder: Responder,
    surface: Surface,
    error: KeyleaseError,
    request_id: str,
    *,
    final: bool = False,
) -> None:
    """Answer with one of our errors in the provider's shape.

    ``final``: the call may have been carried out, so the caller's SDK is told not to repeat it. So
    it is where a limit can never hold the call.
    """
    identifier = request_id.encode()
    headers: Headers = [
        JSON_TYPE,
        NO_STORE,
        (REQUEST_ID, identifier),
        (b"request-id", identifier),
        (b"x-keylease-error", error.code.encode()),
    ]
    if isinstance(error, LimitReached):
        headers.append((b"retry-after", str(max(error.retry_after, 1)).encode()))
        final = final or error.hopeless
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    elif isinstance(error, LeaseRefused):
        headers.append((b"www-authenticate", b'Bearer realm="keylease"'))
    if final:
        headers.append((b"x-should-retry", b"false"))
    responder.send(error.http_status, headers, surface.error_body(error, request_id))
