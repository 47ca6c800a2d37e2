"""API keys: made, used, rotated, revoked.

Protects: a key is shown once and kept as a digest. It acts as its owner and never has more: what it
    may do is asked of access at every use, narrowed to the key's own permissions and project. A key
    for somebody else can only be made for a service account, by somebody who holds every one of
    its permissions. A key makes others only if it holds ``api_key:manage``, and none that could do
    more, or live longer, than itself. What was
    revoked opens nothing from that moment on: nothing is cached.
Does not protect: a key that lies where others read it. ``keylease scan`` finds those.
Limits: gateways learn of a revocation with the next policy bundle, within a second when connected.

Rotation: a new text, and a grace in which the previous one goes on. A second rotation within it is
refused (``previous_secret_active``), because it would end a text that somebody still uses; revoking
the previous text is done once or many times with the same result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from keylease.contracts import api_keys as texts
from keylease.contracts.api_keys import ApiKeyKind
from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import (
    ApiKeyMalformed,
    InputInvalid,
    PermissionDenied,
    PreviousSecretActive,
    ResourceConflict,
    ResourceNotFound,
    SignInRequired,
    VersionChanged,
)
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.api_keys import repository
from keylease.platform.identity.api_keys.interfaces import (
    LONGEST_GRACE,
    USED_SECONDS,
    ApiKey,
    GatewayKey,
    NewApiKey,
    ShownApiKey,
)
from keylease.platform.identity.api_keys.repository import StoredApiKey
from keylease.platform.identity.interfaces import (
    INGEST_PERMISSIONS,
    LEASE_EXCHANGE,
    Access,
    Directory,
)
from keylease.platform.identity.sign_in import repository as sign_in
from keylease.primitives.clock import MICROSECONDS

_DAY: Final = 24 * 3600 * MICROSECONDS
_KIND: Final = "api_key"
KeyChanged = Callable[[Transaction, ApiKey], Awaitable[None]]
"""Told of a key that may be exchanged for leases, as it is after the change."""


class ApiKeys:
    """The API keys of all organizations."""

    def __init__(
        self,
        database: Database,
        *,
        directory: Directory,
        access: Access,
        all_permissions: frozenset[str],
    ) -> None:
        self._database = database
        self._directory = directory
        self._access = access
        self._all_permissions = all_permissions
        self._on_change: list[KeyChanged] = []

    def when_changed(self, callback: KeyChanged) -> None:
        """Call in the transaction of every change that gateways must learn of."""
        self._on_change.append(callback)

    # --- use -------------------------------------------------------------------------------

    async def authenticate(self, text: str) -> Caller:
        """Who a key acts as, and within what; raises ``SignInRequired``."""
        try:
            digest = texts.parse(text).digest
        except ApiKeyMalformed as error:
            raise SignInRequired(error.message, advice=error.advice) from error
        async with self._database.reading() as tx:
            key = await repository.by_digest(tx, digest)
            now = tx.now
            principal = Principal.parse(key.principal) if key else None
            active = (
                key is not None
                and principal is not None
                and await self._directory.is_active(tx, key.organization_id, principal)
            )
        if key is None or not active or not _opens(key, digest, now):
            raise SignInRequired(
                "The API key is not known, has expired or was revoked.",
                advice="Make another one, or rotate it before it expires.",
            )
        caller = Caller(
            principal=principal,
            organization_id=key.organization_id,
            permissions=frozenset(key.permissions),
            project_id=key.project_id,
            api_key_id=key.id,
        )
        if key.used_at is None or now - key.used_at >= USED_SECONDS * MICROSECONDS:
            async with self._database.transaction(caller) as tx:
                await repository.note_use(tx, key.id)
        return caller

    # --- making ----------------------------------------------------------------------------

    async def create(self, caller: Caller, wanted: NewApiKey) -> ShownApiKey:
        """Make a key. Raises ``InputInvalid`` and ``PermissionDenied``.

        Raises ``ResourceConflict`` when the create is sent again: its text was shown.
        """
        principal = Principal.parse(wanted.principal or caller.name)
        permissions = self._checked_permissions(wanted)
        await self._may_hold(caller, principal, permissions, wanted.project_id)
        async with self._database.transaction(caller) as tx:
            if await tx.created_before(_KIND) is not None:
                raise ResourceConflict(
                    "This key was made already, and its text was shown then.",
                    advice="Rotate it to get a new text, or revoke it and make another.",
                )
            if not await self._directory.is_active(tx, caller.organization_id, principal):
                raise ResourceNotFound("There is no such service account.")
            expires_at = await self._expiry(tx, caller, wanted.days)
            text = texts.mint(wanted.kind)
            parsed = texts.parse(text)
            key = StoredApiKey(
                id=tx.new_id(),
                organization_id=caller.organization_id,
                principal=str(principal),
                kind=wanted.kind,
                name=wanted.name,
                hint=parsed.hint,
                digest=parsed.digest,
                previous_digest=None,
                previous_expires_at=None,
                permissions=permissions,
                project_id=wanted.project_id,
                created_by=caller.name,
                shown_to=(caller.name,),
                created_at=tx.now,
                rotated_at=None,
                expires_at=expires_at,
                used_at=None,
                revoked_at=None,
                version=1,
            )
            await repository.add(tx, key)
            await tx.created(_KIND, key.id)
            await self._record(tx, AuditAction.API_KEY_CREATED, key)
        return ShownApiKey(key.without_digests(), text)

    def _checked_permissions(self, wanted: NewApiKey) -> tuple[str, ...]:
        permissions = tuple(sorted(set(wanted.permissions)))
        known = INGEST_PERMISSIONS if wanted.kind is ApiKeyKind.INGEST else self._all_permissions
        unknown = [name for name in permissions if name not in known]
        if unknown or not permissions:
            raise InputInvalid(
                "A key names at least one permission, and only such as its kind can have.",
                advice="An ingest key has trace:ingest or inventory:write."
                if wanted.kind is ApiKeyKind.INGEST
                else "The reference of permissions lists them all.",
            )
        return permissions

    async def _may_hold(
        self,
        caller: Caller,
        principal: Principal,
        permissions: tuple[str, ...],
        project_id: str,
        *,
        own_key_id: str = "",
    ) -> None:
        """Whether the caller may have a text that does this as this principal.

        ``own_key_id`` is the key whose text it would be: a key may be exchanged by itself.
        """
        if caller.project_id and project_id != caller.project_id:
            raise PermissionDenied("This API key is bound to a project; its keys are too.")
        if caller.permissions is not None and not caller.permissions >= set(permissions):
            raise PermissionDenied("An API key cannot make one that may do more than itself.")
        if caller.api_key_id and caller.api_key_id != own_key_id:
            # Or else a stolen key could make others, and would not be contained by revoking it.
            await self._access.require(caller, "api_key:manage", project_id=project_id)
        if project_id:
            # Also says whether there is such a project in the organization.
            await self._access.require(caller, "project:read", project_id=project_id)
        if principal == caller.principal:
            return
        if principal.kind is not PrincipalKind.SERVICE_ACCOUNT:
            raise PermissionDenied(
                "Keys of people are made by themselves.",
                advice="Make one for a service account.",
            )
        await self._access.require(caller, "api_key:manage", project_id=project_id)
        for permission in permissions:
            await self._access.require(caller, permission, project_id=project_id)

    async def _expiry(self, tx: Transaction, caller: Caller, days: int) -> int:
        settings = await sign_in.settings(tx, caller.organization_id)
        if days > settings.maximum_key_days:
            raise InputInvalid(
                f"API keys of this organization live for {settings.maximum_key_days} days at most.",
                advice="Ask for fewer days; a key can be rotated before it expires.",
            )
        expires_at = tx.now + days * _DAY
        if caller.api_key_id:
            own = await repository.by_id(tx, caller.organization_id, caller.api_key_id)
            expires_at = min(expires_at, own.expires_at)
        return expires_at

    # --- reading ---------------------------------------------------------------------------

    async def read(self, caller: Caller, key_id: str) -> ApiKey:
        """A key: one's own, or with ``api_key:read`` any; raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            key = await repository.by_id(tx, caller.organization_id, key_id)
        if key.principal != caller.name:
            await self._access.require(caller, "api_key:read", project_id=key.project_id)
        return key.without_digests()

    async def listed(
        self, caller: Caller, page: PageRequest, *, principal: str = "", usable_only: bool = False
    ) -> Page[ApiKey]:
        """Keys of the organization; the route has asked for ``api_key:read``."""
        async with self._database.reading(caller) as tx:
            rows = await repository.page(
                tx, caller.organization_id, page, principal=principal, usable_only=usable_only
            )
        keys = [row.without_digests() for row in rows]
        return page_of(keys, page, key=lambda key: (key.id,))

    # --- changing --------------------------------------------------------------------------

    async def rotate(
        self, caller: Caller, key_id: str, *, grace_seconds: int, expected: int
    ) -> ShownApiKey:
        """Give a key a new text; raises ``PreviousSecretActive`` within an earlier grace."""
        if not 0 <= grace_seconds <= LONGEST_GRACE:
            raise InputInvalid(f"The grace is between 0 and {LONGEST_GRACE} seconds.")
        async with self._database.reading(caller) as tx:
            seen = await repository.by_id(tx, caller.organization_id, key_id)
        # Whoever rotates sees the text, so they must be allowed to have a key that does this.
        await self._may_hold(
            caller,
            Principal.parse(seen.principal),
            seen.permissions,
            seen.project_id,
            own_key_id=key_id,
        )
        async with self._database.transaction(caller) as tx:
            key = await self._locked(tx, key_id, expected=expected)
            if key.expires_at <= tx.now:
                raise ResourceConflict("The key has expired.", advice="Make another one.")
            if key.previous_expires_at is not None and key.previous_expires_at > tx.now:
                raise PreviousSecretActive(
                    "The previous text of this key is still good.",
                    advice="Wait for its end, or revoke it first: POST .../revoke-previous.",
                )
            text = texts.mint(key.kind)
            parsed = texts.parse(text)
            life = key.expires_at - (key.rotated_at or key.created_at)
            settings = await sign_in.settings(tx, caller.organization_id)
            longest = settings.maximum_key_days * _DAY
            changed = msgspec.structs.replace(
                key,
                hint=parsed.hint,
                digest=parsed.digest,
                shown_to=tuple(sorted({*key.shown_to, caller.name})),
                previous_digest=key.digest if grace_seconds else None,
                previous_expires_at=min(tx.now + grace_seconds * MICROSECONDS, key.expires_at)
                if grace_seconds
                else None,
                rotated_at=tx.now,
                expires_at=tx.now + min(life, longest),
                version=key.version + 1,
            )
            await repository.change(tx, changed)
            await self._record(
                tx, AuditAction.API_KEY_ROTATED, changed, grace_seconds=str(grace_seconds)
            )
        return ShownApiKey(changed.without_digests(), text)

    async def revoke_previous(self, caller: Caller, key_id: str) -> ApiKey:
        """End the previous text at once. Done again, it changes nothing."""
        await self._may_revoke(caller, key_id)
        async with self._database.transaction(caller) as tx:
            key = await repository.by_id(tx, caller.organization_id, key_id, lock=True)
            if key.previous_digest is None:
                return key.without_digests()
            changed = msgspec.structs.replace(
                key, previous_digest=None, previous_expires_at=None, version=key.version + 1
            )
            await repository.change(tx, changed)
            await self._record(tx, AuditAction.API_KEY_PREVIOUS_REVOKED, changed)
        return changed.without_digests()

    async def revoke(self, caller: Caller, key_id: str, *, expected: int) -> None:
        """End a key: one's own, or with ``api_key:manage`` any. It stays listed as revoked."""
        await self._may_revoke(caller, key_id)
        async with self._database.transaction(caller) as tx:
            key = await self._locked(tx, key_id, expected=expected)
            await self._revoke(tx, key, reason="revoked")

    async def _may_revoke(self, caller: Caller, key_id: str) -> None:
        async with self._database.reading(caller) as tx:
            key = await repository.by_id(tx, caller.organization_id, key_id)
        if key.principal != caller.name or (caller.api_key_id and caller.api_key_id != key.id):
            await self._access.require(caller, "api_key:manage", project_id=key.project_id)

    async def _locked(self, tx: Transaction, key_id: str, *, expected: int) -> StoredApiKey:
        key = await repository.by_id(tx, tx.caller.organization_id, key_id, lock=True)
        if key.revoked_at is not None:
            raise ResourceConflict("The key was revoked.", advice="Make another one.")
        if key.version != expected:
            raise VersionChanged(
                f"The key is at version {key.version} now.",
                advice="Read it again and repeat the change.",
            )
        return key

    async def _revoke(self, tx: Transaction, key: StoredApiKey, *, reason: str) -> None:
        changed = msgspec.structs.replace(
            key,
            revoked_at=tx.now,
            previous_digest=None,
            previous_expires_at=None,
            version=key.version + 1,
        )
        await repository.change(tx, changed)
        await self._record(tx, AuditAction.API_KEY_REVOKED, changed, reason=reason)

    # --- for other domains -----------------------------------------------------------------

    async def of_principal(
        self, tx: Transaction, organization_id: str, principal: Principal
    ) -> list[ApiKey]:
        """The keys of a principal that open something now."""
        found = await repository.usable(tx, organization_id, principal=str(principal))
        return [key.without_digests() for key in found]

    async def hands_behind(
        self, tx: Transaction, organization_id: str, principal: str
    ) -> frozenset[str]:
        """Who could have acted as a principal with an API key, also by way of another one."""
        found: set[str] = set()
        pending = [principal]
        while pending:
            shown = await repository.shown_to(tx, organization_id, pending.pop())
            pending += shown - found
            found |= shown
        return frozenset(found)

    async def revoke_all(
        self, tx: Transaction, organization_id: str, principal: Principal, *, reason: str
    ) -> int:
        """Revoke all keys of a principal, as part of another change; gives how many."""
        keys = await repository.usable(tx, organization_id, principal=str(principal))
        for key in keys:
            await self._revoke(tx, key, reason=reason)
        return len(keys)

    async def shorten(self, tx: Transaction, organization_id: str, *, days: int) -> int:
        """The organization's maximum has become shorter: no key lives longer than from now on."""
        latest = tx.now + days * _DAY
        keys = await repository.usable(tx, organization_id)
        longer = [key for key in keys if key.expires_at > latest]
        for key in longer:
            changed = msgspec.structs.replace(key, expires_at=latest, version=key.version + 1)
            await repository.change(tx, changed)
            await self._tell_gateways(tx, changed)
        return len(longer)

    async def key_hashes_for_gateways(
        self, tx: Transaction, organization_id: str
    ) -> list[GatewayKey]:
        """What gateways must know to exchange API keys for leases; previous texts in their grace.

        Only keys with ``lease:exchange`` whose principal may act.
        """
        found: list[GatewayKey] = []
        for key in await repository.usable(tx, organization_id):
            principal = Principal.parse(key.principal)
            if LEASE_EXCHANGE not in key.permissions or key.kind is not ApiKeyKind.API:
                continue
            if not await self._directory.is_active(tx, organization_id, principal):
                continue
            current = GatewayKey(
                id=key.id,
                digest=key.digest,
                principal=key.principal,
                permissions=key.permissions,
                project_id=key.project_id,
                expires_at=key.expires_at,
            )
            found.append(current)
            if key.previous_digest and (key.previous_expires_at or 0) > tx.now:
                found.append(
                    msgspec.structs.replace(
                        current,
                        digest=key.previous_digest,
                        expires_at=key.previous_expires_at or 0,
                    )
                )
        return found

    async def _record(
        self, tx: Transaction, action: AuditAction, key: StoredApiKey, **details: str
    ) -> None:
        reason = details.pop("reason", "")
        await tx.record(
            action,
            key.id,
            organization_id=key.organization_id,
            reason=reason,
            details={
                "owner": key.principal,
                "kind": key.kind.value,
                "permissions": " ".join(key.permissions),
                **({"by_key": tx.caller.api_key_id} if tx.caller.api_key_id else {}),
                **details,
            },
        )
        await self._tell_gateways(tx, key)

    async def _tell_gateways(self, tx: Transaction, key: ApiKey) -> None:
        if LEASE_EXCHANGE in key.permissions:
            for callback in self._on_change:
                await callback(tx, key)


def _opens(key: StoredApiKey, digest: str, now: int) -> bool:
    if key.revoked_at is not None or now >= key.expires_at:
        return False
    return key.digest == digest or now < (key.previous_expires_at or 0)
