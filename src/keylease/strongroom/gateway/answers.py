"""What the client gets to see: which fields of an upstream's answer, and our own errors.

Protects: against headers of an upstream that say something about the account behind the
    credential, set cookies, redirect, or steer the client's connection.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import KeyleaseError, LeaseRefused, LimitReached
from keylease.primitives.http1.interfaces import Headers, Responder
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

    __slots__ = ("content_type", "encoded", "headers", "provider_request_id")

    def __init__(self, upstream: Headers, request_id: bytes) -> None:
        """Keep what the allow-list names; the request id is always ours."""
        self.headers: Headers = [(REQUEST_ID, request_id)]
        self.content_type = b""
        self.encoded = False
        self.provider_request_id = b""
        headers = self.headers
        for field in upstream:
            name, value = field
            if name in _ALLOWED:
                if name == b"content-type":
                    self.content_type = value
                headers.append(field)
            elif name.startswith(_ALLOWED_BEGINNINGS):
                headers.append(field)
            elif name == b"content-encoding" and value.strip().lower() != b"identity":
                self.encoded = True
            if name in _REQUEST_IDS and not self.provider_request_id:
                self.provider_request_id = value
        if self.provider_request_id:
            headers.append((PROVIDER_REQUEST_ID, self.provider_request_id))

    @property
    def event_stream(self) -> bool:
        """Whether the body is server-sent events."""
        return self.content_type[:17].lower() == b"text/event-stream"


def send_error(
    responder: Responder,
    surface: Surface,
    error: KeyleaseError,
    request_id: str,
    *,
    final: bool = False,
) -> None:
    """Answer with one of our errors in the provider's shape.

    ``final``: the call may have been carried out, so the caller's SDK is told not to repeat it.
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
    elif isinstance(error, LeaseRefused):
        headers.append((b"www-authenticate", b'Bearer realm="keylease"'))
    if final:
        headers.append((b"x-should-retry", b"false"))
    responder.send(error.http_status, headers, surface.error_body(error, request_id))
