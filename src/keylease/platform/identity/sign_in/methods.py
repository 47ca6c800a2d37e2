"""How somebody signs in from now on: passkeys, a password, one-time and recovery codes.

Protects: every change needs a sign-in of the last minutes, gives the session a new text (rights
    have changed), and ends the user's other sessions when a way in was taken away or a password
    changed.
    The last way in cannot be removed, nor the second factor where one is required.
Does not protect: a person whose unlocked machine somebody uses within those minutes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceConflict, ResourceNotFound, SignInRequired
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import Directory, KnownUser
from keylease.platform.identity.sealing import Sealer
from keylease.platform.identity.sessions.interfaces import SignInMethod, StartedSession
from keylease.platform.identity.sessions.service import Sessions
from keylease.platform.identity.sign_in import (
    attempts,
    one_time_codes,
    passkeys,
    repository,
    steps,
)
from keylease.platform.identity.sign_in.interfaces import Methods, StoredPasskey
from keylease.platform.identity.sign_in.passwords import PasswordHasher, check_new_password
from keylease.platform.identity.sign_in.service import Secret, code_place


class _Challenge(msgspec.Struct, frozen=True):
    challenge: bytes


class Enrolment(msgspec.Struct, frozen=True):
    """What an app for one-time codes needs; shown once."""

    secret: str
    uri: str

    def __repr__(self) -> str:
        return "Enrolment(********)"


class SignInMethods:
    """A person's own ways in."""

    def __init__(
        self,
        database: Database,
        *,
        directory: Directory,
        sessions: Sessions,
        hasher: PasswordHasher,
        sealer: Sealer,
        site: passkeys.Site,
    ) -> None:
        self._database = database
        self._directory = directory
        self._sessions = sessions
        self._hasher = hasher
        self._sealer = sealer
        self._site = site

    async def read(self, caller: Caller) -> Methods:
        """What there is."""
        async with self._database.reading(caller) as tx:
            return await methods_of(tx, await self._user(tx))

    async def introduce(self, caller: Caller, *, name: str, email: str) -> KnownUser:
        """Say who one is, while no address is known: the first owner.

        Raises ``ResourceConflict`` when one is known; it is changed in the directory then.
        """
        await self._sessions.require_recent(caller)
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            if user.email:
                raise ResourceConflict("Your address is known already.")
            return await self._directory.introduce(tx, user=user, name=name, email=email)

    async def user(self, caller: Caller) -> KnownUser:
        """Who the caller is."""
        async with self._database.reading(caller) as tx:
            return await self._user(tx)

    # --- passkeys --------------------------------------------------------------------------

    async def passkey_challenge(self, caller: Caller) -> tuple[str, dict[str, Any]]:
        """A step, and what the browser makes a passkey with."""
        await self._sessions.require_recent(caller)
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            known = await repository.credential_ids(tx, user)
            asked = self._site.registration(user, known=known)
            step = await steps.begin(
                tx, steps.StepKind.PASSKEY_REGISTRATION, _Challenge(asked.challenge), user=user
            )
        return step, asked.options

    async def add_passkey(
        self, caller: Caller, *, step: str, response: dict[str, Any], name: str
    ) -> StartedSession:
        """Register a passkey; the session goes on with a new text."""
        await self._sessions.require_recent(caller)
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            asked = await steps.use(tx, steps.StepKind.PASSKEY_REGISTRATION, step)
        if asked.user_id != user.id:
            raise InputInvalid("This registration was begun by somebody else.")
        made = self._site.registered(response, challenge=asked.read(_Challenge).challenge)
        async with self._database.transaction(caller) as tx:
            passkey = StoredPasskey(
                id=tx.new_id(),
                organization_id=user.organization_id,
                user_id=user.id,
                credential_digest=passkeys.digest_of_credential(made.credential_id),
                name=name,
                created_at=tx.now,
                used_at=None,
                version=1,
                **msgspec.structs.asdict(made),
            )
            await repository.add_passkey(tx, passkey)
            await tx.record(AuditAction.PASSKEY_ADDED, passkey.id, details={"user": user.id})
            return await self._changed(tx, user, SignInMethod.PASSKEY)

    async def remove_passkey(self, caller: Caller, passkey_id: str) -> StartedSession:
        """Remove a passkey; raises ``ResourceConflict`` when it is the last way in."""

        async def remove(tx: Transaction, user: KnownUser) -> None:
            if not await repository.remove_passkey(tx, user, passkey_id):
                raise ResourceNotFound("There is no such passkey.")
            await tx.record(AuditAction.PASSKEY_REMOVED, passkey_id, details={"user": user.id})

        return await self._remove(caller, remove)

    # --- password --------------------------------------------------------------------------

    async def set_password(self, caller: Caller, password: Secret) -> StartedSession:
        """Set or change the password; ends the user's other sessions."""
        await self._sessions.require_recent(caller)
        async with self._database.reading(caller) as tx:
            user = await self._user(tx)
            settings = await repository.settings(tx, user.organization_id)
        if not settings.passwords_allowed:
            raise ResourceConflict(
                "The organization does not allow passwords.", advice="Register a passkey."
            )
        if not user.email:
            raise ResourceConflict(
                "A password belongs to an address, and yours is not known.",
                advice="Say your address first.",
            )
        check_new_password(password.text, email=user.email)
        stored = await self._hasher.hash(password.text)
        async with self._database.transaction(caller) as tx:
            await repository.set_password(tx, user, stored)
            await repository.forget_browsers(tx, user)
            await tx.record(AuditAction.PASSWORD_SET, user.id)
            await self._end_others(tx, user)
            return await self._changed(tx, user, SignInMethod.PASSWORD)

    async def remove_password(self, caller: Caller) -> StartedSession:
        """Remove the password; raises as ``remove_passkey``."""

        async def remove(tx: Transaction, user: KnownUser) -> None:
            if not await repository.remove_password(tx, user):
                raise ResourceNotFound("There is no password.")
            await tx.record(AuditAction.PASSWORD_REMOVED, user.id)

        return await self._remove(caller, remove)

    # --- one-time codes --------------------------------------------------------------------

    async def begin_one_time_codes(self, caller: Caller) -> Enrolment:
        """A new secret, good once a code of it was entered."""
        await self._sessions.require_recent(caller)
        secret = one_time_codes.new_secret()
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            before = await repository.one_time_codes(tx, user)
            if before and before.confirmed and caller.permissions is None:
                raise ResourceConflict(
                    "One-time codes are set up already.", advice="Remove them first."
                )
            if before and before.confirmed:
                # A limited session comes from a link: its owner has lost the app.
                await tx.record(AuditAction.SECOND_FACTOR_REMOVED, user.id, reason="link")
            sealed = self._sealer.seal(secret.encode(), place=code_place(user))
            codes = repository.StoredCodes(sealed_secret=sealed, confirmed=False, last_step=0)
            await repository.set_one_time_codes(tx, user, codes)
        return Enrolment(secret, one_time_codes.enrolment_uri(secret, email=user.email))

    async def confirm_one_time_codes(
        self, caller: Caller, code: Secret
    ) -> tuple[StartedSession, list[str]]:
        """Finish the set-up with a code; gives the recovery codes, which are shown once."""
        await self._sessions.require_recent(caller)
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            await attempts.take(tx, attempts.account("confirm", user.id))
        async with self._database.transaction(caller) as tx:
            stored = await repository.one_time_codes(tx, user)
            if stored is None or stored.confirmed:
                raise ResourceConflict("No set-up of one-time codes is under way.")
            secret = self._sealer.open(stored.sealed_secret, place=code_place(user)).decode()
            step = one_time_codes.step_of(secret, code.text, now=tx.now, after=stored.last_step)
            if step is None or not await repository.use_step(tx, user, step):
                raise InputInvalid(
                    "The code is not right.",
                    advice="Look whether the clock of your device is right, and take the next one.",
                )
            await attempts.give_back(tx, attempts.account("confirm", user.id))
            await tx.record(AuditAction.SECOND_FACTOR_ADDED, user.id)
            codes = await self._new_recovery_codes(tx, user)
            started = await self._changed(tx, user, SignInMethod.PASSWORD_AND_CODE)
            return started, codes

    async def remove_one_time_codes(self, caller: Caller) -> StartedSession:
        """Remove one-time and recovery codes; raises as ``remove_passkey``."""

        async def remove(tx: Transaction, user: KnownUser) -> None:
            if not await repository.remove_one_time_codes(tx, user):
                raise ResourceNotFound("There are no one-time codes.")
            await repository.set_recovery_codes(tx, user, [])
            await tx.record(AuditAction.SECOND_FACTOR_REMOVED, user.id)

        return await self._remove(caller, remove)

    async def new_recovery_codes(self, caller: Caller) -> list[str]:
        """New recovery codes in the place of the old ones; shown once."""
        await self._sessions.require_recent(caller)
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            stored = await repository.one_time_codes(tx, user)
            if stored is None or not stored.confirmed:
                raise ResourceConflict("Recovery codes stand in for one-time codes: set up those.")
            return await self._new_recovery_codes(tx, user)

    # --- all -------------------------------------------------------------------------------

    async def _new_recovery_codes(self, tx: Transaction, user: KnownUser) -> list[str]:
        codes = one_time_codes.new_recovery_codes()
        digests = [one_time_codes.recovery_digest(code, user_id=user.id) for code in codes]
        await repository.set_recovery_codes(tx, user, digests)
        await tx.record(AuditAction.RECOVERY_CODES_MADE, user.id)
        return codes

    async def _remove(
        self, caller: Caller, remove: Callable[[Transaction, KnownUser], Awaitable[None]]
    ) -> StartedSession:
        await self._sessions.require_recent(caller)
        async with self._database.transaction(caller) as tx:
            user = await self._user(tx)
            await remove(tx, user)
            if not (await methods_of(tx, user)).complete:
                raise ResourceConflict(
                    "Without this you could not sign in any more, or not with two factors.",
                    advice="Set up another way first.",
                )
            await self._end_others(tx, user)
            return await self._sessions.renew(tx, caller.session_id)

    async def _end_others(self, tx: Transaction, user: KnownUser) -> None:
        await self._sessions.end_all(
            tx,
            user.organization_id,
            user.id,
            reason="sign_in_changed",
            keep=tx.caller.session_id,
        )

    async def _changed(
        self, tx: Transaction, user: KnownUser, method: SignInMethod
    ) -> StartedSession:
        """A new text for the session, without limits once everything is there."""
        limited = tx.caller.permissions is not None
        if not limited:
            return await self._sessions.renew(tx, tx.caller.session_id)
        complete = (await methods_of(tx, user)).complete
        return await self._sessions.renew(
            tx, tx.caller.session_id, method=method if complete else None, limited=not complete
        )

    async def _user(self, tx: Transaction) -> KnownUser:
        principal = tx.caller.principal
        user = await self._directory.user(tx, principal.id) if principal else None
        if user is None or user.organization_id != tx.caller.organization_id:
            raise SignInRequired("Only a user has ways to sign in.")
        return user


async def methods_of(tx: Transaction, user: KnownUser) -> Methods:
    """How a user can sign in."""
    codes = await repository.one_time_codes(tx, user)
    settings = await repository.settings(tx, user.organization_id)
    return Methods(
        passkeys=await repository.passkeys(tx, user),
        password=await repository.password_hash(tx, user) is not None,
        one_time_codes=codes is not None and codes.confirmed,
        recovery_codes=await repository.recovery_codes_left(tx, user),
        second_factor_required=settings.second_factor_required,
    )
