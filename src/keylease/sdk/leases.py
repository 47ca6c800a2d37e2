"""Obtain leases and renew them before they end.

    source = LeaseSource(TokenExchangeSource(gateway_url, subject_token=..., wish=...), clock=...)
    headers = {"Authorization": f"Bearer {await source.current()}"}

Protects: a lease is held in memory only and never printed.
Limits: renewal happens when a lease is asked for; nothing runs in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import httpx
import msgspec

from keylease.contracts.leases import LEASE_PREFIX
from keylease.errors import GatewayNotRunning, KeyleaseError, TokenExchangeRefused
from keylease.primitives.clock import MICROSECONDS, Clock, SystemClock
from keylease.primitives.egress import guarded_client

_RENEW_AFTER: Final = 2 / 3
"""Part of its lifetime after which a lease is renewed."""
_SAFETY: Final = 5.0
"""Seconds before its end at which a lease is not handed out any more."""
_FAILURE_PAUSE: Final = 5.0
"""Seconds after a failed renewal in which the lease at hand is used without asking again."""
_TIMEOUT: Final = 15.0
_MAXIMUM_ANSWER: Final = 64 * 1024
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"


class LeaseWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a lease is wanted for."""

    purpose: str
    environment: str
    models: tuple[str, ...] = ()
    """Names or patterns; empty asks for everything that is granted."""
    lifetime: int | None = None
    """Seconds; ``None`` leaves it to the gateway."""


class ObtainedLease(msgspec.Struct, frozen=True):
    """A lease as a source gave it."""

    token: str
    expires_in: float
    """Seconds from now."""

    def __repr__(self) -> str:
        return f"ObtainedLease(token=********, expires_in={self.expires_in!r})"


class Source(Protocol):
    """Where leases come from."""

    async def obtain(self) -> ObtainedLease:
        """Get a new lease; raises ``KeyleaseError``."""
        ...


class LeaseSource:
    """Hands out a lease that is still good, and renews it at two thirds of its life.

    However many callers ask at once, one renewal is under way; meanwhile, and when it fails, the
    lease at hand is handed out as long as it is good.
    """

    def __init__(self, source: Source, *, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._renewing = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0
        self._ends_at = 0.0

    async def current(self) -> str:
        """A lease that is good for at least a few seconds; raises ``KeyleaseError``."""
        now = self._clock.monotonic()
        if self._token and now < self._renew_at:
            return self._token
        if self._is_good() and self._renewing.locked():
            return self._token
        async with self._renewing:
            if self._token and self._clock.monotonic() < self._renew_at:
                return self._token
            try:
                await self._renew()
            except KeyleaseError:
                if not self._is_good():
                    raise
                # Not swallowed: asked again after a pause, and raised once the lease has ended.
                pause = self._clock.monotonic() + _FAILURE_PAUSE
                self._renew_at = min(pause, self._ends_at - _SAFETY)
            return self._token

    def forget(self) -> None:
        """Drop the lease at hand, for instance after a gateway refused it."""
        self._token = ""

    def _is_good(self) -> bool:
        return bool(self._token) and self._clock.monotonic() < self._ends_at - _SAFETY

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        lease = await self._source.obtain()
        self._token = lease.token
        self._renew_at = asked_at + lease.expires_in * _RENEW_AFTER
        self._ends_at = asked_at + lease.expires_in

    def __repr__(self) -> str:
        return f"LeaseSource(source={type(self._source).__name__})"


ControlRequest = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, object]]]
"""Sends one operation with its parameters over the control socket and gives its result."""


class ControlSocketSource:
    """Leases for a person on the gateway's own machine, from its control socket."""

    def __init__(
        self, request: ControlRequest, wish: LeaseWish, *, clock: Clock | None = None
    ) -> None:
        self._request = request
        self._wish = wish
        self._clock = clock or SystemClock()

    async def obtain(self) -> ObtainedLease:
        """Ask for ``lease.create``; raises what the control client raises."""
        result = await self._request("lease.create", msgspec.to_builtins(self._wish))
        # The gateway is on this machine, so its wall clock is ours.
        expires_at = result.get("expires_at")
        expires_in = (
            (expires_at - self._clock.now()) / MICROSECONDS if isinstance(expires_at, int) else None
        )
        return _read_lease(result.get("token"), expires_in)


class TokenExchangeSource:
    """Leases for a workload, in exchange for its own identity's token (RFC 8693)."""

    def __init__(
        self,
        gateway_url: str,
        *,
        subject_token: Callable[[], Awaitable[str]],
        wish: LeaseWish,
        ca_file: str | None = None,
    ) -> None:
        """``subject_token`` gives a fresh token of the workload's identity each time it is called.

        Plain http is meant for a gateway on this machine or in the private network.
        """
        self._url = gateway_url.rstrip("/") + "/oauth/token"
        self._subject_token = subject_token
        self._wish = wish
        self._ca_file = ca_file

    async def obtain(self) -> ObtainedLease:
        """Exchange; raises ``TokenExchangeRefused`` or ``GatewayNotRunning``."""
        wish = self._wish
        form = {
            "grant_type": _GRANT_TYPE,
            "subject_token": await self._subject_token(),
            "subject_token_type": _JWT,
            "purpose": wish.purpose,
            "environment": wish.environment,
            "models": " ".join(wish.models),
            "requested_lifetime": "" if wish.lifetime is None else str(wish.lifetime),
        }
        client = guarded_client(
            allow_private=True,
            timeout=_TIMEOUT,
            maximum_bytes=_MAXIMUM_ANSWER,
            ca_file=self._ca_file,
        )
        try:
            async with client:
                answer = await client.post(
                    self._url, data={name: value for name, value in form.items() if value}
                )
        except httpx.HTTPError as error:
            raise GatewayNotRunning(
                f"The gateway at {self._url} cannot be reached.",
                advice="Check its address, and that it is up.",
            ) from error
        return _read_answer(answer)


class _Answer(msgspec.Struct, frozen=True):
    access_token: object = None
    expires_in: object = None
    error: str = "invalid_request"
    error_description: str = ""


def _read_answer(answer: httpx.Response) -> ObtainedLease:
    try:
        body = msgspec.json.decode(answer.content, type=_Answer)
    except msgspec.DecodeError as error:
        raise TokenExchangeRefused(
            f"The gateway answered the token exchange with status {answer.status_code} and no"
            " JSON; is the address that of a Keylease gateway?"
        ) from error
    if answer.status_code != httpx.codes.OK:
        said = "".join(c for c in body.error_description if c.isprintable())[:500]
        raise TokenExchangeRefused(
            f"The gateway refused the token exchange: {said}", oauth_error=body.error
        )
    return _read_lease(body.access_token, body.expires_in)


def _read_lease(token: object, expires_in: object) -> ObtainedLease:
    if (
        not isinstance(token, str)
        or not token.startswith(LEASE_PREFIX)
        or isinstance(expires_in, bool)
        or not isinstance(expires_in, int | float)
        or expires_in <= 0
    ):
        raise TokenExchangeRefused("The gateway answered with something that is no lease.")
    return ObtainedLease(token=token, expires_in=float(expires_in))
