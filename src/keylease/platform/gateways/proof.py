"""Whether a request of the link is from the gateway that it names, is of now, and is new.

Protects: the signature covers method, target, body, gateway, time and nonce, so no part of a
    request can be exchanged. A request is good once within ``CLOCK_WINDOW``: nonces are in the
    database, which all server processes share and which survives a restart; older requests are
    refused by their time.
Does not protect: against whoever has the gateway's key.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keylease.contracts import platform_link as wire
from keylease.errors import (
    GatewayNotProven,
    GatewayRevoked,
    RequestReplayed,
    RequestTimeRefused,
    SignatureInvalid,
)
from keylease.platform.db.database import Database
from keylease.platform.gateways import repository
from keylease.platform.gateways.gateway import Gateway, GatewayState
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import decode_base64url

_TIME: Final = re.compile(r"[1-9][0-9]{15,16}")
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_WINDOW: Final = wire.CLOCK_WINDOW * MICROSECONDS


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as its signature covers it."""

    target: str
    body: bytes
    gateway_id: str
    time: str
    nonce: str
    signature: str
    method: str = "POST"


class GatewayProof:
    """Checks requests of the link."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, gateway_id: str) -> None:
        """Raise unless there is such a gateway that may ask; that it asks is not proven by this."""
        async with self._database.reading() as tx:
            found = await repository.by_id(tx, gateway_id)
        if found is None:
            _refuse()
        if found.state is GatewayState.REVOKED:
            raise GatewayRevoked("This gateway was revoked.")

    async def gateway(self, request: SignedRequest) -> Gateway:
        """The gateway that has signed the request.

        Raises ``GatewayNotProven``, ``GatewayRevoked``, ``RequestTimeRefused``,
        ``RequestReplayed``.
        """
        # 1. There is such a gateway. Who is none learns nothing more than that.
        async with self._database.reading() as tx:
            found = await repository.by_id(tx, request.gateway_id)
        if found is None:
            _refuse()
        # 2. It signed exactly this.
        check_signature(request, found.public_key)
        # 3. It may.
        if found.state is GatewayState.REVOKED:
            raise GatewayRevoked("This gateway was revoked.")
        # 4. Now, and for the first time.
        await self.check_fresh(request)
        return found

    async def check_fresh(self, request: SignedRequest) -> None:
        """Raise ``RequestTimeRefused`` or ``RequestReplayed``; the nonce is used up otherwise."""
        at = int(request.time)
        async with self._database.transaction() as tx:
            if abs(tx.now - at) > _WINDOW:
                raise RequestTimeRefused(
                    "The request is of another time than the platform's.",
                    advice="Compare the clocks of the gateway's machine and of the platform.",
                )
            await repository.forget_nonces(tx, before=tx.now - _WINDOW - MICROSECONDS)
            if not await repository.use_nonce(tx, request.gateway_id, request.nonce, at=at):
                raise RequestReplayed("The request was sent before.")


def check_signature(request: SignedRequest, public_key: bytes) -> None:
    """Raise ``GatewayNotProven`` unless the key has signed the request."""
    if not _TIME.fullmatch(request.time) or not _NONCE.fullmatch(request.nonce):
        _refuse()
    signed = wire.signing_input(
        method=request.method,
        target=request.target,
        body=request.body,
        gateway_id=request.gateway_id,
        time=request.time,
        nonce=request.nonce,
    )
    try:
        signature = decode_base64url(request.signature.encode())
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, SignatureInvalid, ValueError):
        _refuse()


def _refuse() -> NoReturn:
    raise GatewayNotProven(
        "The request is not signed by a gateway that is known here.",
        advice="Enroll the gateway: a code is made with POST /v1/gateways/enrolment-codes.",
    )
