"""The platform's side of the link, without policy and sign-in: bundles that a test makes itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.manual_clock import ManualClock

from keylease.contracts import platform_link as wire
from keylease.contracts.bundles import SignedBundle, sign_bundle
from keylease.contracts.policy import PolicyBundle
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.callers import Caller
from keylease.platform.gateways.gateway import Gateway
from keylease.platform.gateways.proof import SignedRequest
from keylease.platform.gateways.service import GatewayService
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.identifiers import uuid7
from keylease.primitives.signatures import encode_base64url

ORGANIZATION = "01a00000-0000-7000-8000-000000000001"
OTHER = "01a00000-0000-7000-8000-000000000002"


def person(organization_id: str = ORGANIZATION) -> Caller:
    return Caller(
        principal=Principal(PrincipalKind.USER, "01a00000-0000-7000-8000-00000000000a"),
        organization_id=organization_id,
    )


class FakeBundles:
    """A ``BundleSource`` in memory."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.key = Ed25519PrivateKey.generate()
        self.current: dict[tuple[str, str], SignedBundle] = {}
        self.generation = 0
        self.ahead: list[int] = []

    def publish(self, version: int, *, group: str = "local") -> SignedBundle:
        now = self.clock.now()
        bundle = PolicyBundle(
            organization_id=ORGANIZATION,
            group=group,
            version=version,
            issued_at=now,
            expires_at=now + 3600 * MICROSECONDS,
        )
        self.generation += 1
        signed = self.current[ORGANIZATION, group] = sign_bundle(bundle, self.key)
        return signed

    async def policy_key(self, organization_id: str) -> bytes:
        del organization_id
        return self.key.public_key().public_bytes_raw()

    async def bundle(self, organization_id: str, group: str) -> SignedBundle | None:
        return self.current.get((organization_id, group))

    async def generations(self, organization_ids: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(organization_ids, self.generation)

    async def gateway_is_ahead(self, organization_id: str, group: str, version: int) -> None:
        del organization_id, group
        self.ahead.append(version)


class GatewayHand:
    """Signs as a gateway does."""

    def __init__(self, clock: ManualClock, gateway_id: str = wire.ENROLLING) -> None:
        self.clock = clock
        self.key = Ed25519PrivateKey.generate()
        self.gateway_id = gateway_id

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def sign(self, target: str, body: bytes, **changes: Any) -> SignedRequest:  # noqa: ANN401 - parts of a request
        parts: dict[str, Any] = {
            "method": "POST",
            "target": target,
            "body": body,
            "gateway_id": self.gateway_id,
            "time": str(self.clock.now()),
            "nonce": encode_base64url(os.urandom(wire.NONCE_BYTES)).decode(),
            **changes,
        }
        signature = encode_base64url(self.key.sign(wire.signing_input(**parts))).decode()
        return SignedRequest(signature=signature, **parts)

    def json(self, target: str, body: msgspec.Struct, **changes: Any) -> SignedRequest:  # noqa: ANN401 - as above
        return self.sign(target, msgspec.json.encode(body), **changes)

    def msgpack(self, target: str, body: msgspec.Struct) -> SignedRequest:
        return self.sign(target, msgspec.msgpack.encode(body))

    def wish(self, code: str, **changes: Any) -> wire.EnrolmentRequest:  # noqa: ANN401 - as above
        parts: dict[str, Any] = {
            "code": code,
            "public_key": self.public_key,
            "name": "edge-1",
            "group": "local",
            "software": "1.2.3",
        }
        return wire.EnrolmentRequest(**{**parts, **changes})

    async def enroll(self, gateways: GatewayService, **changes: Any) -> Gateway:  # noqa: ANN401 - as above
        """Come with a fresh code, and be this gateway from now on."""
        minted = await gateways.create_code(person(), group="local")
        wish = self.wish(minted.text, **changes)
        answer = await gateways.enroll(wish, self.json(wire.ENROLMENTS, wish))
        self.gateway_id = answer.gateway_id
        return await gateways.get(person(), answer.gateway_id)


def headers_of(signed: SignedRequest, kind: str = "msgpack") -> dict[str, str]:
    """A signed request's headers, as they go over HTTP."""
    return {
        wire.GATEWAY_HEADER: signed.gateway_id,
        wire.TIME_HEADER: signed.time,
        wire.NONCE_HEADER: signed.nonce,
        wire.SIGNATURE_HEADER: signed.signature,
        "content-type": f"application/{kind}",
    }


def gateway_caller(clock: ManualClock) -> tuple[Caller, str]:
    """A gateway as the link has proven it, and its id."""
    gateway_id = uuid7(clock)
    principal = Principal(PrincipalKind.GATEWAY, gateway_id)
    return Caller(principal=principal, organization_id=ORGANIZATION), gateway_id
