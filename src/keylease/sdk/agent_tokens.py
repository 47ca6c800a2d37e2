"""Trace tokens through the loopback agent: the program shows its bearer where a lease belongs.

Protects: the lease takes the bearer's place on the way to the gateway, and the program never holds
    it. Nothing else is exchanged this way: the program gets what sends spans, and no lease.
"""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import parse_qsl, urlencode

from keylease.contracts.trace_tokens import INGEST_AUDIENCE, LEASE_TOKEN_TYPE
from keylease.errors import KeyleaseError
from keylease.primitives.http1.interfaces import (
    Headers,
    Pool,
    Responder,
    ResponseHead,
    UpstreamFailure,
    UpstreamRequest,
)
from keylease.primitives.http1.rendering import render_fields
from keylease.primitives.tasks import TaskOwner
from keylease.sdk.agent_call import JSON_TYPE, Leases, error_body

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
_MAXIMUM_FORM: Final = 16 * 1024
_MAXIMUM_FIELDS: Final = 32
_FORM_TYPE: Final = b"application/x-www-form-urlencoded"
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_BAD_REQUEST: Final = 400


class AgentTokenCall:
    """Handles one ``POST /oauth/token`` of the program."""

    def __init__(
        self, responder: Responder, *, bearer: bytes, pool: Pool, leases: Leases, tasks: TaskOwner
    ) -> None:
        self._responder = responder
        self._bearer = bearer
        self._pool = pool
        self._leases = leases
        self._tasks = tasks
        self._form = bytearray()
        self._upstream: UpstreamRequest | None = None
        self._answered = False

    def body_received(self, data: bytes) -> None:
        """A piece of the form."""
        if self._answered:
            return
        self._form += data
        if len(self._form) > _MAXIMUM_FORM:
            self._refuse(413, "The form is too large.")

    def request_complete(self) -> None:
        """The form is whole."""
        if self._answered:
            return
        fields = _fields(bytes(self._form))
        shown = fields.pop("subject_token", "").encode()
        if not hmac.compare_digest(shown, self._bearer):
            self._refuse(401, "The agent serves the program it was started for.")
        elif fields.get("audience") != INGEST_AUDIENCE:
            self._refuse(403, f"The agent exchanges for the audience {INGEST_AUDIENCE} only.")
        else:
            lifetime = fields.get("requested_lifetime", "")
            self._tasks.start(self._exchange(lifetime), name="keylease-run-token")

    async def _exchange(self, lifetime: str) -> None:
        try:
            lease = await self._leases.current()
        except KeyleaseError as error:
            self._responder.send(503, JSON_TYPE, error_body(error.message, error.code))
            return
        form = {
            "grant_type": _GRANT_TYPE,
            "subject_token": lease,
            "subject_token_type": LEASE_TOKEN_TYPE,
            "audience": INGEST_AUDIENCE,
            **({"requested_lifetime": lifetime} if lifetime else {}),
        }
        body = urlencode(form).encode()
        self._upstream = self._pool.request(
            method="POST",
            target=TOKEN_PATH.encode(),
            headers=render_fields([(b"content-type", _FORM_TYPE)]),
            receiver=_TokenAnswer(self._responder, self._leases),
            body=body,
            content_length=len(body),
        )

    def _refuse(self, status: int, message: str) -> None:
        self._answered = True
        self._responder.send(status, JSON_TYPE, error_body(message, "agent_refused"))

    def client_gone(self) -> None:
        """Nobody waits for it."""
        if self._upstream is not None:
            self._upstream.cancel()

    def pause_writing(self) -> None:
        """The answer is small."""

    def resume_writing(self) -> None:
        """The answer is small."""


class _TokenAnswer:
    """Passes the gateway's answer on."""

    def __init__(self, responder: Responder, leases: Leases) -> None:
        self._responder = responder
        self._leases = leases
        self._begun = False

    def head_received(self, head: ResponseHead) -> None:
        if head.status == _BAD_REQUEST:
            self._leases.forget()  # revoked, or of a gateway that was set up anew
        self._begun = True
        headers: Headers = [field for field in head.headers if field[0] != b"content-length"]
        self._responder.start(head.status, headers, content_length=head.content_length)

    def data_received(self, data: bytes) -> None:
        self._responder.write(data)

    def response_complete(self) -> None:
        self._responder.finish()

    def failed(self, failure: UpstreamFailure) -> None:
        if self._begun:
            self._responder.abort()
            return
        del failure
        message = "The gateway cannot be reached. Is it running?"
        self._responder.send(503, JSON_TYPE, error_body(message, "gateway_not_running"))

    def pause_writing(self) -> None:
        """The answer is small."""

    def resume_writing(self) -> None:
        """The answer is small."""


def _fields(form: bytes) -> dict[str, str]:
    """What the program sent; nothing of what cannot be read."""
    try:
        pairs = parse_qsl(form.decode("ascii"), max_num_fields=_MAXIMUM_FIELDS)
    except ValueError:
        return {}
    return dict(pairs)
