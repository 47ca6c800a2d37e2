"""What the head of a call says, apart from who may call: read once for all requests that share it.

Protects: nothing here depends on the time, on the policy or on what is revoked; those are asked on
    every request.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import RequestTooLarge
from keylease.primitives.http1.interfaces import RequestHead
from keylease.strongroom.configuration import WireLimits
from keylease.strongroom.gateway.call.bodies import check_encoding
from keylease.strongroom.gateway.call.caller_fields import CallerFields
from keylease.strongroom.gateway.call.choosing import check_query
from keylease.strongroom.gateway.call.forms import form_boundary
from keylease.strongroom.gateway.call.outgoing import target_of
from keylease.strongroom.gateway.providers.interfaces import BodyKind, Operation, Surface

_JSON_TYPES: Final = ("application/json", "")
_FORM_TYPES: Final = ("multipart/form-data",)
_JSON_LINE: Final = b"content-type: application/json\r\n"
_IGNORED_BODY: Final = 64 * 1024
"""Bytes of a body that an operation has no use for; more is refused."""


class CallHead:
    """A request's head, read for the operation that it asks for."""

    __slots__ = (
        "_checked", "_targets", "content_length", "content_line", "content_type", "fields", "limit",
        "object_id", "operation", "query", "surface",
    )  # fmt: skip

    def __init__(
        self, head: RequestHead, *, surface: Surface, operation: Operation, object_id: str
    ) -> None:
        """Raises ``LeaseMalformed`` or ``RequestMalformed`` for fields that contradict another."""
        self.surface = surface
        self.operation = operation
        self.object_id = object_id
        self.query = head.query
        self.content_length = head.content_length
        self.fields = CallerFields(head.headers)
        self.content_type = ""
        self.content_line = b""
        """What is said upstream about the body; empty until ``check_body``."""
        self.limit = 0
        """Bytes of the body that are taken; 0 until ``check_body``."""
        self._checked = False
        self._targets: dict[str, bytes] = {}

    def check_body(self, head: RequestHead, limits: WireLimits) -> None:
        """Refuse what the head says about its body, or its query, if that cannot be served."""
        if self._checked:
            return
        match self.operation.body:
            case BodyKind.JSON:
                check_encoding(head, media_types=_JSON_TYPES)
                self.content_line = _JSON_LINE
                self.limit = limits.body_bytes
            case BodyKind.FORM | BodyKind.UPLOAD:
                self.content_type = check_encoding(head, media_types=_FORM_TYPES)
                form_boundary(self.content_type)
                self.content_line = b"content-type: %b\r\n" % self.content_type.encode("latin-1")
                upload = self.operation.body is BodyKind.UPLOAD
                self.limit = limits.upload_bytes if upload else limits.body_bytes
            case BodyKind.NONE:
                self.limit = _IGNORED_BODY
        if head.content_length is not None and head.content_length > self.limit:
            raise too_large(self.limit)
        if head.query:
            check_query(head.query, self.operation.query)
        self._checked = True

    def target(self, prefix: str) -> bytes:
        """The request target below an upstream's base URL; there are few of them."""
        found = self._targets.get(prefix)
        if found is None:
            found = target_of(prefix, self.operation, self.object_id, self.query)
            self._targets[prefix] = found
        return found


def too_large(limit: int) -> RequestTooLarge:
    """The error for a body of more than ``limit`` bytes."""
    return RequestTooLarge(f"The request body is larger than {limit} bytes.")
