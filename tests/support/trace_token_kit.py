"""Trace tokens as gateways give them, and as nobody should."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from tests.support.furnished import Tenant
from tests.support.link_kit import GatewayHand

from keylease.contracts import platform_link as wire
from keylease.contracts.trace_tokens import (
    INGEST_AUDIENCE,
    TRACE_TOKEN_PREFIX,
    TRACE_TOKEN_TYPE,
    TraceTokenClaims,
)
from keylease.platform.server.services import Services
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.identifiers import uuid7
from keylease.primitives.signatures import encode_base64url

LEASE_ID = "01a00000-0000-7000-8000-0000000000aa"
PRINCIPAL = "workload:batch"


class TokenHand(GatewayHand):
    """An enrolled gateway that gives trace tokens."""

    organization_id = ""

    async def join(self, services: Services, of: Tenant) -> TokenHand:
        minted = await services.link.gateways.create_code(of.owner, group="local")
        wish = self.wish(minted.text)
        request = self.json(wire.ENROLMENTS, wish)
        self.gateway_id = (await services.link.gateways.enroll(wish, request)).gateway_id
        self.organization_id = of.organization_id
        return self

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the claims
        now = self.clock.now()
        claims = TraceTokenClaims(
            iss=self.gateway_id,
            sub=PRINCIPAL,
            aud=INGEST_AUDIENCE,
            iat=now // MICROSECONDS,
            exp=now // MICROSECONDS + 900,
            jti=uuid7(self.clock),
            organization=self.organization_id,
            lease=LEASE_ID,
            lease_issued_at=now,
        )
        return {**msgspec.to_builtins(claims), **changes}

    def token(self, **changes: Any) -> str:  # noqa: ANN401 - members of the claims
        return self.signed(self.claims(**changes))

    def signed(
        self,
        claims: dict[str, Any] | bytes,
        *,
        prefix: str = TRACE_TOKEN_PREFIX,
        **header: str | None,
    ) -> str:
        """Any content with any header; ``None`` leaves a member out."""
        said = {"alg": "EdDSA", "kid": self.gateway_id, "typ": TRACE_TOKEN_TYPE, **header}
        head = json.dumps({name: value for name, value in said.items() if value is not None})
        body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = b".".join((encode_base64url(head.encode()), encode_base64url(body)))
        signature = encode_base64url(self.key.sign(signed))
        return prefix + b".".join((signed, signature)).decode()
