"""What a principal holds here when somebody leaves: sessions, API keys, ways to sign in."""

from __future__ import annotations

from collections.abc import Sequence

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.holdings import Holding, Outcome
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.api_keys.service import ApiKeys
from keylease.platform.identity.interfaces import Directory, KnownUser
from keylease.platform.identity.outside import repository as outside
from keylease.platform.identity.sessions import repository as sessions_repository
from keylease.platform.identity.sessions.service import Sessions
from keylease.platform.identity.sign_in import repository as sign_in
from keylease.platform.identity.sign_in.methods import methods_of

_MANY = 500


class IdentityHoldings:
    """Told to the directory, which asks when a principal is suspended or leaves."""

    def __init__(self, *, directory: Directory, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._directory = directory
        self._sessions = sessions
        self._api_keys = api_keys

    async def end_all(self, tx: Transaction, principal: str) -> None:
        """End every session of ``KIND:ID``; API keys rest by themselves while it may not act."""
        parsed = Principal.parse(principal)
        if parsed.kind is PrincipalKind.USER:
            await self._sessions.end_all(
                tx, tx.caller.organization_id, parsed.id, reason="may_not_act"
            )

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """Sessions, API keys and ways to sign in; all of them are revoked."""
        parsed = Principal.parse(principal)
        organization_id = tx.caller.organization_id
        found = [
            Holding(kind="api_key", id=key.id, label=key.name, outcome=Outcome.REVOKED)
            for key in await self._api_keys.of_principal(tx, organization_id, parsed)
        ]
        if parsed.kind is not PrincipalKind.USER:
            return found
        living = await sessions_repository.page(
            tx, organization_id, PageRequest(limit=_MANY), user_id=parsed.id
        )
        found += [
            Holding(kind="session", id=each.id, label=each.device, outcome=Outcome.REVOKED)
            for each in living
        ]
        user = await self._user(tx, parsed)
        if user is not None:
            found += await self._ways_in(tx, user)
        return found

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Revoke all of it; nobody takes over another's keys, so ``to`` gets none of it."""
        del to
        held = await self.held(tx, principal)
        parsed = Principal.parse(principal)
        organization_id = tx.caller.organization_id
        await self._api_keys.revoke_all(tx, organization_id, parsed, reason="offboarded")
        if parsed.kind is PrincipalKind.USER:
            await self._sessions.end_all(tx, organization_id, parsed.id, reason="offboarded")
            if (user := await self._user(tx, parsed)) is not None:
                await self._forget(tx, user)
        return held

    async def _ways_in(self, tx: Transaction, user: KnownUser) -> list[Holding]:
        methods = await methods_of(tx, user)
        found = [
            Holding(kind="passkey", id=each.id, label=each.name, outcome=Outcome.REVOKED)
            for each in methods.passkeys
        ]
        if methods.password:
            found.append(Holding(kind="password", id=user.id, outcome=Outcome.REVOKED))
        if methods.one_time_codes:
            found.append(Holding(kind="one_time_codes", id=user.id, outcome=Outcome.REVOKED))
        found += [
            Holding(kind="outside_identity", id=each, outcome=Outcome.REVOKED)
            for each in await outside.issuers_of_user(tx, user)
        ]
        return found

    async def _forget(self, tx: Transaction, user: KnownUser) -> None:
        await sign_in.remove_everything(tx, user)
        await outside.unlink_all(tx, user)
        await tx.record(AuditAction.SIGN_IN_METHODS_REMOVED, user.id, reason="offboarded")

    async def _user(self, tx: Transaction, principal: Principal) -> KnownUser | None:
        user = await self._directory.user(tx, principal.id)
        return user if user and user.organization_id == tx.caller.organization_id else None
