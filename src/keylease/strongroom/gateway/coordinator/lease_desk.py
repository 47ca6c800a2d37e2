"""Leases for people on this machine, revocations, signing keys: written down, then in force.

Protects: a lease leaves only after its audit entry is durable; a refusal is written down too. A
    revocation is durable and in force in every worker before it is confirmed.
Limits: who a person is comes from the kernel (the uid at the control socket). The owner of the
    gateway may name another principal; grants decide what that one may have.
"""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import msgspec

from keylease import detectors
from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import PolicyBundle, Revocation, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.errors import KeyleaseError, RequestMalformed
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.leases.exchange import LeaseAudit
from keylease.strongroom.leases.issue import PRINCIPAL, LeaseIssuer, LeaseRequest
from keylease.strongroom.leases.key_source import SigningKeySource
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.revocation_store import RevocationStore
from keylease.strongroom.leases.verify import CLOCK_SKEW

_SKEW: Final = CLOCK_SKEW * MICROSECONDS
"""By so much clocks may differ, or one be set back, without a lease outliving its revocation."""
_WITHOUT_MOMENT: Final = (RevocationKind.LEASE, RevocationKind.CREDENTIAL)
"""What they name is dead, whenever it was issued."""


class LeaseWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of ``lease.create``."""

    purpose: Purpose
    environment: str
    models: tuple[str, ...] = ()
    lifetime: int | None = None
    """Seconds."""
    project: str = ""
    principal: str = ""
    """Another principal than the caller."""


class RevocationWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of ``lease.revoke``."""

    kind: RevocationKind
    value: str = ""


class LiftWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of ``lease.lift``: a credential by name or id."""

    credential: str


class LeaseDesk:
    """One per coordinator."""

    def __init__(  # noqa: PLR0913 - its collaborators, by keyword
        self,
        *,
        keys: SigningKeys,
        source: SigningKeySource,
        issuer: LeaseIssuer,
        store: RevocationStore,
        policy: Callable[[], PolicyBundle],
        audit: AuditSpool,
        clock: Clock,
        put_in_force: Callable[[], Awaitable[int]],
    ) -> None:
        """``put_in_force`` sends keys and revocations to the workers, and gives their number."""
        self.keys = keys
        self._source = source
        self._issuer = issuer
        self._store = store
        self._policy = policy
        self._audit = audit
        self._clock = clock
        self._put_in_force = put_in_force
        self._changing = asyncio.Lock()
        self._seen: dict[Revocation, int] = {}

    def revocations(self) -> tuple[Revocation, ...]:
        """Everything that is in force: made here, or part of the policy."""
        now = self._clock.now()
        theirs = self._policy().revocations
        self._seen = {one: self._seen.get(one, now) for one in theirs}
        return (*self._store.revocations(), *map(self._by_our_clock, theirs))

    def _by_our_clock(self, revocation: Revocation) -> Revocation:
        """A revocation of the policy, which also kills what was issued here before it arrived.

        It has its moment from another machine's clock. When ours is ahead, a lease that we issued
        before it would seem to be of a later moment, and live on.
        """
        if revocation.kind in _WITHOUT_MOMENT:
            return revocation
        latest = min(self._seen[revocation], revocation.at + _SKEW)
        return msgspec.structs.replace(revocation, at=max(revocation.at, latest))

    async def write(self, entry: LeaseAudit) -> None:
        """The audit of the token exchange."""
        await self._audit.write(
            entry.action,
            principal=entry.principal,
            subject=entry.object,
            reason=entry.reason,
            details=entry.details,
        )

    async def create(self, uid: int, arguments: dict[str, Any]) -> dict[str, Any]:
        """A lease for the caller. Raises what the issuer raises, and ``StorageError``."""
        wish = msgspec.convert(arguments, LeaseWish)
        caller = login_principal(uid)
        principal = wish.principal or caller
        details = {"by": caller, "uid": str(uid), "purpose": wish.purpose.value}
        details["environment"] = wish.environment[:64]
        request = LeaseRequest(
            principal=principal,
            purpose=wish.purpose,
            environment=wish.environment,
            models=wish.models,
            lifetime=wish.lifetime,
            project=wish.project,
        )
        try:
            lease = self._issuer.issue(request, self._policy())
        except KeyleaseError as error:
            await self._audit.write(
                AuditAction.LEASE_REFUSED,
                principal=principal if PRINCIPAL.fullmatch(principal) else "",
                reason=error.code,
                details=details,
            )
            raise
        claims = lease.claims
        await self._audit.write(
            AuditAction.LEASE_ISSUED,
            principal=principal,
            subject=claims.jti,
            details={**details, "expires_at": str(claims.exp)},
        )
        return {
            "token": lease.token,
            "lease_id": claims.jti,
            "principal": claims.sub,
            "purpose": claims.purpose.value,
            "environment": claims.environment,
            "models": list(claims.models),
            "expires_at": claims.exp * MICROSECONDS,
            "note": lease.shortened_by,
        }

    async def revoke(self, uid: int, arguments: dict[str, Any]) -> dict[str, Any]:
        """Revoke; in force in every worker when this returns."""
        wish = msgspec.convert(arguments, RevocationWish)
        value = self._checked_value(wish)
        # Leases that were issued before the clock was set back seem to be of a later moment.
        now = self._clock.now()
        at = max(now, min(self._issuer.latest_issued_at, now + _SKEW))
        revocation = Revocation(kind=wish.kind, value=value, at=at)
        async with self._changing:
            await asyncio.to_thread(self._store.add, revocation)
            workers = await self._put_in_force()
        # Revoking comes first: a full disk under the audit must not keep a stolen lease alive.
        await self._audit.write(
            AuditAction.LEASE_REVOKED,
            principal=login_principal(uid),
            subject=value,
            details={"kind": wish.kind.value, "at": str(revocation.at)},
        )
        return {"kind": wish.kind.value, "value": value, "at": revocation.at, "workers": workers}

    def _checked_value(self, wish: RevocationWish) -> str:
        match wish.kind:
            case RevocationKind.ALL:
                if wish.value:
                    raise RequestMalformed("Revoking all leases takes no value.")
                return ""
            case RevocationKind.CREDENTIAL:
                return self._credential_id(wish.value)
            case RevocationKind.PRINCIPAL:
                named = PRINCIPAL.fullmatch(wish.value)
                if not named or detectors.looks_like_secret(wish.value):
                    raise RequestMalformed(
                        "The principal is not of the form kind:name, such as user:ada."
                    )
                return wish.value
            case RevocationKind.LEASE:
                return _lease_id(wish.value)
            case RevocationKind.ADMISSION:
                return self._admission_id(wish.value)

    def _credential_id(self, name: str) -> str:
        for credential in self._policy().credentials:
            if name in (credential.id, credential.name):
                return credential.id
        raise RequestMalformed(
            "The policy has no such credential.",
            advice="`keylease doctor` lists the credentials.",
        )

    def _admission_id(self, name: str) -> str:
        policy = self._policy()
        for rule in policy.trust_rules:
            if name in (rule.id, rule.name):
                return rule.id
        if any(key.id == name for key in policy.api_keys):
            return name
        raise RequestMalformed("The policy has no such trust rule or API key.")

    async def lift(self, uid: int, arguments: dict[str, Any]) -> dict[str, Any]:
        """Lift the revocation of a credential."""
        wish = msgspec.convert(arguments, LiftWish)
        credential_id = self._credential_id(wish.credential)
        async with self._changing:
            # Written down first: what is allowed again must not happen without a trace.
            await self._audit.write(
                AuditAction.REVOCATION_LIFTED,
                principal=login_principal(uid),
                subject=credential_id,
                details={"kind": RevocationKind.CREDENTIAL.value},
            )
            lifted = await asyncio.to_thread(self._store.lift, credential_id)
            workers = await self._put_in_force()
        return {"credential_id": credential_id, "lifted": lifted, "workers": workers}

    async def rotate(self, uid: int) -> dict[str, Any]:
        """Sign with a new key from now on; leases of the earlier ones stay good."""
        async with self._changing:
            keys = await self._source.rotate()
            await self._use(keys)
        await self._audit.write(
            AuditAction.SIGNING_KEY_ROTATED,
            principal=login_principal(uid),
            subject=keys.kid,
        )
        return {"kid": keys.kid, "created_at": keys.created_at, "keys": len(keys.public_keys())}

    async def refresh_keys(self) -> bool:
        """Read the keys again: another gateway of the group may have rotated them."""
        async with self._changing:
            keys = await self._source.open()
            if keys.public_jwks() == self.keys.public_jwks():
                return False
            await self._use(keys)
            return True

    async def _use(self, keys: SigningKeys) -> None:
        # Workers verify with the new key before the issuer signs with it.
        self.keys = keys
        await self._put_in_force()
        self._issuer.replace_keys(keys)


def login_principal(uid: int) -> str:
    """``user:<login name>``; ``user:uid-<number>`` where the system has no fitting name."""
    try:
        principal = f"user:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        principal = ""
    return principal if PRINCIPAL.fullmatch(principal) else f"user:uid-{uid}"


def _lease_id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError as error:
        raise RequestMalformed(
            "The lease id is no UUID.",
            advice="It is printed by `keylease lease create --json`, and the jti of the lease.",
        ) from error
