"""Exchanges a lease for trace tokens, and renews them before they end.

Protects: the lease goes to the gateway and nowhere else: over TLS or on this machine, to no address
    that a redirect names, and never to the platform. Lease and token stand in memory only, and in
    no message.
Does not protect: what the program itself does with its lease.
Limits: synchronous, because it runs in the thread that sends spans, also while the interpreter
    shuts down, when no other thread can be started. After a failure it waits before it asks again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from keylease.contracts.trace_tokens import (
    INGEST_AUDIENCE,
    LEASE_TOKEN_TYPE,
    TRACE_TOKEN_PREFIX,
    TraceTokenAnswer,
)
from keylease.errors import (
    GatewayNotRunning,
    KeyleaseError,
    NotSignedIn,
    SettingsInvalid,
    TokenExchangeRefused,
)
from keylease.primitives.clock import Clock
from keylease.primitives.egress.tls import client_context
from keylease.sdk.platform import check_address, is_this_machine

_RENEW_AFTER: Final = 2 / 3
"""Part of its life after which a token is renewed."""
_SAFETY: Final = 5.0
"""Seconds before its end at which a token is not sent any more."""
_FAILURE_PAUSE: Final = 1.0
"""Seconds in which the gateway is not asked again, after it was not reached. OpenTelemetry gives up
after ten."""
_REFUSAL_PAUSE: Final = 30.0
"""The same after it has refused: that mends itself seldom."""
_TIMEOUT: Final = 5.0
_MAXIMUM_ANSWER: Final = 64 * 1024
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_OK: Final = 200
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500
_LATER: Final = 429
_PORTS: Final = {"http": 80, "https": 443}


class TraceToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it was obtained."""

    text: str
    server: str
    """The platform's address, from the program or told by the gateway."""

    def __repr__(self) -> str:
        return f"TraceToken(text=********, server={self.server!r})"


class TraceTokens:
    """Hands out a token that is still good. For any number of threads; one of them asks."""

    def __init__(
        self,
        gateway: str,
        lease: Callable[[], str],
        *,
        server: str = "",
        clock: Clock,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``lease`` gives the present lease each time; without ``server`` the gateway names one.

        Raises ``SettingsInvalid`` for an address that a lease is not sent to.
        """
        check_address(gateway, what="A lease")
        if server and origin_of(server) == origin_of(gateway):
            raise SettingsInvalid(
                "The gateway and the platform have the same address.",
                advice="A lease is never sent to the platform. Give each its own: gateway= or "
                "KEYLEASE_GATEWAY_URL, server= or KEYLEASE_SERVER_URL.",
            )
        self._url = gateway.rstrip("/") + "/oauth/token"
        self._is_near = is_this_machine(urlsplit(gateway).hostname or "")
        self._lease = lease
        self._server = server
        self._clock = clock
        self._transport = transport
        self._asking = threading.Lock()
        self._token: TraceToken | None = None
        self._renew_at = self._ends_at = self._ask_at = self._replace_at = 0.0
        self._failure: KeyleaseError | None = None
        _unlock_in_children(self)

    def current(self, *, refused: str = "") -> TraceToken:
        """A token that is good for at least a few seconds.

        It is another than the ``refused`` one, unless that was asked for a moment ago: a platform
        that refuses every token is no reason to ask the gateway for one with every request.
        Raises ``GatewayNotRunning`` for what may be over soon, ``TokenExchangeRefused`` and
        ``SettingsInvalid`` for what will hardly be.
        """
        with self._asking:
            now = self._clock.monotonic()
            token = self._token
            if token is not None and now >= self._ends_at - _SAFETY:
                token = self._token = None
            if token is not None and token.text == refused and now >= self._replace_at:
                self._replace_at = now + _REFUSAL_PAUSE
                token = self._token = None
            if token is not None and now < self._renew_at:
                return token
            if now < self._ask_at and self._failure is not None:
                if token is None:
                    raise self._failure
                return token
            try:
                return self._renew(now)
            except KeyleaseError as error:
                later = isinstance(error, GatewayNotRunning)
                self._failure = error
                self._ask_at = now + (_FAILURE_PAUSE if later else _REFUSAL_PAUSE)
                if token is None:
                    raise
                return token  # asked again after a pause, and raised once this one has ended

    def _renew(self, asked_at: float) -> TraceToken:
        answer = self._ask()
        server = self._server or answer.ingest_url
        self._check_server(server)
        self._token = TraceToken(text=answer.access_token, server=server)
        self._renew_at = asked_at + answer.expires_in * _RENEW_AFTER
        self._ends_at = asked_at + answer.expires_in
        self._failure = None
        return self._token

    def _check_server(self, server: str) -> None:
        advice = "Set KEYLEASE_SERVER_URL to the platform's address, or give `server`."
        if not server:
            raise SettingsInvalid("The gateway does not say where the platform is.", advice=advice)
        check_address(server, what="A trace token")
        host = urlsplit(server).hostname or ""
        if not self._server and is_this_machine(host) and not self._is_near:
            raise SettingsInvalid(
                "The gateway names a platform on a machine of its own.", advice=advice
            )

    def _ask(self) -> TraceTokenAnswer:
        form = {
            "grant_type": _GRANT_TYPE,
            "subject_token": self._present_lease(),
            "subject_token_type": LEASE_TOKEN_TYPE,
            "audience": INGEST_AUDIENCE,
        }
        transport = self._transport or httpx.HTTPTransport(verify=client_context())
        # A client of its own for each token: there is one in minutes, and none outlives a fork.
        with httpx.Client(
            transport=transport, timeout=_TIMEOUT, follow_redirects=False, trust_env=False
        ) as client:
            try:
                with client.stream("POST", self._url, data=form) as answer:
                    return _read(answer.status_code, _bounded(answer))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise GatewayNotRunning(
                    f"The gateway at {self._url} cannot be reached ({type(error).__name__})."
                ) from error

    def _present_lease(self) -> str:
        try:
            lease = self._lease()
        except KeyleaseError:
            raise
        except Exception as error:
            raise GatewayNotRunning(
                f"There is no lease to send spans with ({type(error).__name__})."
            ) from error
        check_lease(lease)
        return lease

    def unlock(self) -> None:
        """A forked child has no thread that would."""
        self._asking = threading.Lock()


def check_lease(lease: str) -> None:
    """Raise ``NotSignedIn`` or ``SettingsInvalid`` for what can be none, and says nothing of it."""
    if not lease:
        raise NotSignedIn("There is no lease to send spans with.")
    if not lease.isascii() or not lease.isprintable() or " " in lease:
        raise SettingsInvalid("The lease has characters that no lease has.")


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; the names of this machine are one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        port = None
    return (
        parts.scheme,
        "localhost" if is_this_machine(host) else host,
        _PORTS.get(parts.scheme, 0) if port is None else port,
    )


def _bounded(answer: httpx.Response) -> bytes:
    body = b""
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > _MAXIMUM_ANSWER:
            raise TokenExchangeRefused("The gateway's answer to the token exchange is too long.")
    return body


class _Refusal(msgspec.Struct, frozen=True):
    """RFC 6749 section 5.2, and our own code."""

    error: str = "invalid_request"
    error_description: str = ""
    code: str = ""


def _read(status: int, body: bytes) -> TraceTokenAnswer:
    if status == _LATER or not _OK <= status < _SERVER_ERROR:
        raise GatewayNotRunning(f"The gateway answers the token exchange with status {status}.")
    try:
        if status >= _BAD_REQUEST:
            refusal = msgspec.json.decode(body, type=_Refusal)
            said = "".join(c for c in refusal.error_description if c.isprintable())[:500]
            raise TokenExchangeRefused(
                f"The gateway gives no trace token: {said} ({refusal.code[:64]})",
                oauth_error=refusal.error,
            )
        answer = msgspec.json.decode(body, type=TraceTokenAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenExchangeRefused(
            f"The token exchange was answered with status {status} and nothing that is"
            " understood; is the address that of a Keylease gateway?"
        ) from error
    if not answer.access_token.startswith(TRACE_TOKEN_PREFIX) or answer.expires_in <= 0:
        raise TokenExchangeRefused("The gateway answered with something that is no trace token.")
    return answer


def _unlock_in_children(tokens: TraceTokens) -> None:
    """A process that is forked while a token is asked for must not wait for it forever."""
    known = weakref.ref(tokens)

    def unlock() -> None:
        if (found := known()) is not None:
            found.unlock()

    os.register_at_fork(after_in_child=unlock)
