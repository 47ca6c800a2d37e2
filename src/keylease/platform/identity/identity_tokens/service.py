"""Identity tokens for gateways, and what a gateway needs to check them.

Protects: a token lives five minutes at most and never longer than the session or API key it was
    asked with; it is for one gateway group, has an identifier that is used once there, and is
    signed with a key that signs nothing else. Who asks must hold ``lease:exchange``.
Does not protect: a token that somebody else sends first; the exchange then fails for its owner.
Limits: what models it may lead to is policy's matter, and decided at the gateway.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.identity_tokens import LIFETIME, IdentityClaims, audience_of
from keylease.contracts.principals import PrincipalKind
from keylease.errors import SignInRequired
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.api_keys import repository as api_keys
from keylease.platform.identity.identity_tokens.signing_keys import SigningKeys
from keylease.platform.identity.sessions import repository as sessions
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import sign_ed25519

JWKS_PATH: Final = "/.well-known/jwks.json"
_TYPE: Final = "JWT"
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token and how many seconds it is good for."""

    token: str
    expires_in: int
    id: str

    def __repr__(self) -> str:
        return f"IssuedToken({self.id}, token=********)"


class IdentityTokens:
    """Issues tokens in the platform's name."""

    def __init__(self, database: Database, *, keys: SigningKeys, issuer: str) -> None:
        self._database = database
        self._keys = keys
        self._issuer = issuer

    async def issue(self, caller: Caller, *, gateway_group: str) -> IssuedToken:
        """A token for the caller; the route has asked for ``lease:exchange``."""
        async with self._database.transaction(caller) as tx:
            ends_at = await self._end_of_proof(tx)
            now = tx.now // MICROSECONDS
            claims = IdentityClaims(
                iss=self._issuer,
                sub=caller.name,
                aud=audience_of(gateway_group),
                iat=now,
                exp=min(now + LIFETIME, ends_at // MICROSECONDS),
                jti=tx.new_id(),
                organization=caller.organization_id,
                project=caller.project_id,
                user=_of_kind(caller, PrincipalKind.USER),
                service_account=_of_kind(caller, PrincipalKind.SERVICE_ACCOUNT),
                via=caller.api_key_id,
            )
            # Not more than was proven a moment ago: nothing is signed that has ended.
            if claims.exp <= now:
                raise SignInRequired("The session or API key has just ended.")
            await tx.record(
                AuditAction.IDENTITY_TOKEN_ISSUED,
                claims.jti,
                details={"gateway_group": gateway_group, "seconds": str(claims.exp - now)},
            )
            key, kid = self._keys.current
            token = sign_ed25519(key, header={"kid": kid, "typ": _TYPE}, payload=_encode(claims))
        return IssuedToken(token=token.decode(), expires_in=claims.exp - now, id=claims.jti)

    async def rotate(self, caller: Caller) -> str:
        """Sign with a new key from now on; gives its id."""
        async with self._database.transaction(caller) as tx:
            # Inside, so that without its audit entry the caller hears of a failure.
            kid = self._keys.rotate()
            await tx.record(AuditAction.IDENTITY_KEY_ROTATED, kid)
        return kid

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517)."""
        return {"keys": self._keys.public()}

    def metadata(self) -> dict[str, Any]:
        """The discovery document (OpenID Connect Discovery 1.0 section 3, RFC 8628 section 4)."""
        return {
            "issuer": self._issuer,
            "jwks_uri": self._issuer + JWKS_PATH,
            "device_authorization_endpoint": f"{self._issuer}/oauth/device_authorization",
            "token_endpoint": f"{self._issuer}/oauth/token",
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "token_endpoint_auth_methods_supported": ["none"],
        }

    async def _end_of_proof(self, tx: Transaction) -> int:
        caller = tx.caller
        if caller.api_key_id:
            key = await api_keys.by_id(tx, caller.organization_id, caller.api_key_id)
            return key.expires_at
        session = await sessions.by_id(tx, caller.organization_id, caller.session_id)
        if session is None:
            raise SignInRequired("The session has just ended.")
        return session.expires_at


def _of_kind(caller: Caller, kind: PrincipalKind) -> str:
    principal = caller.principal
    return principal.id if principal is not None and principal.kind is kind else ""
