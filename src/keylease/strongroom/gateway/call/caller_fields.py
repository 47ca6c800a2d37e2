"""What the gateway takes from a request's header fields, in one pass over them.

Protects: nothing of the caller's headers goes upstream unless it is on the allow-list below; its
    authentication, and whatever would choose another account, project or host, never does.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from keylease.errors import LeaseMalformed, LeaseMissing, RequestMalformed
from keylease.primitives.http1.interfaces import Headers
from keylease.strongroom.leases.verify import PresentedToken

_PASSED_ON: Final = {
    name: name + b": "
    for name in (b"accept", b"anthropic-version", b"anthropic-beta", b"openai-beta", b"user-agent")
}
_LEASE_FIELDS: Final = frozenset({b"x-api-key", b"api-key", b"x-goog-api-key"})
_OTHERS: Final = frozenset(
    {b"authorization", b"traceparent", b"dpop", b"idempotency-key", b"host"} | _LEASE_FIELDS
)
_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_ADVICE: Final = "Send a lease (kll_...) in the place of the API key."


class CallerFields:
    """The caller's header fields, as far as they matter."""

    __slots__ = ("dpop", "host", "idempotency_key", "parent_span_id", "passed_on", "token",
                 "trace_id")  # fmt: skip

    def __init__(self, headers: Headers) -> None:
        """Sort ``headers``; raises ``LeaseMalformed`` or ``RequestMalformed``."""
        self.token: PresentedToken | None = None
        self.passed_on = b""
        """Rendered field lines."""
        self.trace_id = ""
        self.parent_span_id = ""
        self.dpop: bytes | None = None
        self.host = b""
        self.idempotency_key = b""
        for name, value in headers:
            rendered = _PASSED_ON.get(name)
            if rendered is not None:
                self.passed_on += rendered + value + b"\r\n"
            elif name in _OTHERS:
                self._take(name, value)

    def _take(self, name: bytes, value: bytes) -> None:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise LeaseMalformed(
                    "The Authorization header is not a Bearer one.", advice=_ADVICE
                )
            self._take_token(token.strip())
        elif name in _LEASE_FIELDS:
            self._take_token(value.strip())
        elif name == b"traceparent":
            found = _TRACEPARENT.fullmatch(value)
            # W3C Trace Context section 3.2: zeros and version ff are invalid, and then ignored.
            if found and found[1] != b"ff" and found[2].strip(b"0") and found[3].strip(b"0"):
                self.trace_id = found[2].decode()
                self.parent_span_id = found[3].decode()
        elif name == b"dpop":
            if self.dpop is not None:
                raise RequestMalformed("The request has more than one DPoP header.")
            self.dpop = value
        elif name == b"host":
            self.host = value
        else:
            self.idempotency_key = value

    def _take_token(self, token: bytes) -> None:
        if not token:
            return
        if self.token is not None and self.token.secret_bytes != token:
            raise RequestMalformed(
                "The request carries two different leases.",
                advice="Send one lease, in one header.",
            )
        self.token = PresentedToken(token)

    def required_token(self) -> PresentedToken:
        """The lease; raises ``LeaseMissing``."""
        if self.token is None:
            raise LeaseMissing("The request carries no lease.", advice=_ADVICE)
        return self.token

    def rendered_idempotency_key(self, principal: str) -> bytes:
        """The field line for the caller's idempotency key, made its own.

        Callers share a credential, and the provider keeps answers by key: without the principal
        in it, one caller could ask for another one's answer.
        """
        if not self.idempotency_key:
            return b""
        digest = hashlib.sha256(principal.encode() + b"\0" + self.idempotency_key).hexdigest()
        return b"idempotency-key: keylease-%b\r\n" % digest[:40].encode()
