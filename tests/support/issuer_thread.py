"""An OIDC issuer in a thread, for gateways that are real processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
from tests.support.manual_clock import ManualClock
from tests.support.oidc_issuer import JWKS, LocalIssuer, local_issuer

from keylease.primitives.clock import MICROSECONDS

_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"


class IssuerThread:
    """What tests need of it. Its tokens are of now."""

    def __init__(self, issuer: LocalIssuer) -> None:
        self._issuer = issuer
        self.url = issuer.url

    def token(self, **claims: object) -> str:
        """A token of its own for each call; ``exp`` may be given in seconds from now."""
        now = int(time.time())
        seconds = claims.pop("lives", 300)
        assert isinstance(seconds, int)
        base: dict[str, Any] = {
            "iat": now,
            "exp": now + seconds,
            "jti": secrets.token_hex(8),
            **claims,
        }
        return self._issuer.token(**base).decode()

    @property
    def jwks_requests(self) -> int:
        return self._issuer.server.requests.get(JWKS, 0)


@contextlib.contextmanager
def issuer_thread() -> Iterator[IssuerThread]:
    """Run an issuer on loopback until the block ends."""
    started: concurrent.futures.Future[LocalIssuer] = concurrent.futures.Future()
    stop = asyncio.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        stopper.append(lambda: loop.call_soon_threadsafe(stop.set))
        clock = ManualClock(int(time.time()) * MICROSECONDS)
        async with local_issuer(clock) as issuer:
            started.set_result(issuer)
            await stop.wait()

    stopper: list[object] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    issuer = started.result(timeout=20)
    try:
        yield IssuerThread(issuer)
    finally:
        end = stopper[0]
        assert callable(end)
        end()
        thread.join(timeout=20)


def exchange(gateway_url: str, token: str, **form: object) -> httpx.Response:
    """Ask a gateway for a lease."""
    wanted = {
        "grant_type": _TOKEN_EXCHANGE,
        "subject_token": token,
        "subject_token_type": _JWT,
        "purpose": "development",
        "environment": "local",
        **form,
    }
    return httpx.post(f"{gateway_url}/oauth/token", data=wanted, trust_env=False, timeout=30)
