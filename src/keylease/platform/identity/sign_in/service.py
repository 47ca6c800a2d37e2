"""Signing in: each way ends in a session, in a question for a code, or in one and the same refusal.

1. An attempt is counted, and the count committed, before anything is looked at.
2. Whoever has no account costs the same time, and gets the same answer.
3. What was shown is checked outside any transaction where it takes long.
4. A new session begins; the browser's old one ends.

Protects: what ``attempts``, ``passwords``, ``passkeys`` and ``one_time_codes`` say they protect.
    A right password alone never says that it was right when a code is still wanted: a wrong code is
    answered like everything else.
Does not protect: against a person who gives their code to somebody else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import SignInRefused
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import Directory, KnownUser
from keylease.platform.identity.one_time import digest_of
from keylease.platform.identity.sealing import Sealer
from keylease.platform.identity.sessions.interfaces import Circumstances, SignInMethod
from keylease.platform.identity.sessions.service import Sessions
from keylease.platform.identity.sign_in import (
    attempts,
    one_time_codes,
    passkeys,
    repository,
    steps,
)
from keylease.platform.identity.sign_in.interfaces import Outcome, StoredPasskey
from keylease.platform.identity.sign_in.passwords import PasswordHasher
from keylease.platform.identity.sign_in.refusals import Refusals

_WITH_CODE = {
    SignInMethod.PASSWORD: (SignInMethod.PASSWORD_AND_CODE, SignInMethod.PASSWORD_AND_RECOVERY),
    SignInMethod.OUTSIDE: (SignInMethod.OUTSIDE_AND_CODE, SignInMethod.OUTSIDE_AND_RECOVERY),
}


class Secret(msgspec.Struct, frozen=True):
    """What a person typed: it is in no ``repr``."""

    text: str

    def __repr__(self) -> str:
        return "Secret(********)"


class _Challenge(msgspec.Struct, frozen=True):
    challenge: bytes


class _FirstFactor(msgspec.Struct, frozen=True):
    method: SignInMethod


class SignIn:
    """The ways in."""

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
        self._refusals = Refusals(database, directory=directory)
        self._sessions = sessions
        self._hasher = hasher
        self._sealer = sealer
        self._site = site

    # --- password --------------------------------------------------------------------------

    async def with_password(
        self,
        *,
        email: str,
        password: Secret,
        organization_id: str,
        circumstances: Circumstances,
        known_browser: str,
    ) -> Outcome:
        """Sign in by password; raises ``SignInRefused`` or ``TooManyAttempts``."""
        email = email.strip().casefold()
        # 1. Who it may be; counted before anything is said about it.
        user, buckets = await self._begin(
            email, organization_id, known_browser, circumstances.address
        )
        async with self._database.reading() as tx:
            stored = await repository.password_hash(tx, user) if user else None
            settings = await repository.settings(tx, user.organization_id) if user else None
        # 2. The guess. It takes the same time when there is no account.
        matches = await self._hasher.matches(password.text, stored)
        if not (user and stored and matches and settings and settings.passwords_allowed):
            await self._refusals.write(user=user, reason="password")
            raise refused()
        renewed = await self._hasher.hash(password.text) if self._hasher.is_outdated(stored) else ""
        # 3. In; if the password was changed meanwhile, this was a guess at the old one.
        try:
            async with self._database.transaction(acting(user)) as tx:
                if await repository.password_hash(tx, user) != stored:
                    raise refused()
                if renewed:
                    await repository.set_password(tx, user, renewed)
                await attempts.give_back(tx, *buckets)
                return await self.go_on(tx, user, circumstances, SignInMethod.PASSWORD)
        except SignInRefused:
            await self._refusals.write(user=user, reason="password_alone")
            raise

    async def _begin(
        self, email: str, organization_id: str, known_browser: str, address: str
    ) -> tuple[KnownUser | None, tuple[attempts.Bucket, ...]]:
        async with self._database.transaction() as tx:
            users = [
                user
                for user in await self._directory.users_by_email(tx, email)
                if user.active and organization_id in ("", user.organization_id)
            ]
            # The same address in two organizations: the form has to say which one is meant.
            user = users[0] if len(users) == 1 else None
            browser = await repository.known_browser(tx, user, known_browser) if user else ""
            subject = f"{organization_id or (user.organization_id if user else '')}\n{email}"
            buckets = (
                attempts.account("password", user.id if user else subject, browser=browser),
                attempts.address(address),
            )
            await attempts.take(tx, *buckets)
        return user, buckets

    # --- second factor ---------------------------------------------------------------------

    async def go_on(
        self,
        tx: Transaction,
        user: KnownUser,
        circumstances: Circumstances,
        method: SignInMethod,
        *,
        second_factor_seen: bool = False,
    ) -> Outcome:
        """After a first factor: ask for a code, or begin a session (limited, if one is missing)."""
        codes = await repository.one_time_codes(tx, user)
        if codes and codes.confirmed and not second_factor_seen:
            step = await steps.begin(
                tx, steps.StepKind.SECOND_FACTOR, _FirstFactor(method), user=user
            )
            return Outcome(step=step)
        settings = await repository.settings(tx, user.organization_id)
        limited = settings.second_factor_required and not second_factor_seen
        if limited and await repository.passkeys(tx, user):
            # There are two factors already. Whoever has one of them must not set up another.
            raise SignInRefused(
                "Your organization asks for two factors, and a passkey is both.",
                advice="Sign in with your passkey; or ask an owner for a sign-in link.",
            )
        return await self._in(tx, user, circumstances, method, limited=limited)

    async def with_code(
        self,
        *,
        step: str,
        code: Secret,
        recovery: bool,
        circumstances: Circumstances,
        known_browser: str,
    ) -> Outcome:
        """Finish with a one-time or recovery code; raises as ``with_password``."""
        user, buckets = await self._begin_code(step, known_browser, circumstances.address)
        async with self._database.transaction(acting(user)) as tx:
            right = await self._check_code(tx, user, code, recovery=recovery)
            if right:
                await attempts.give_back(tx, *buckets)
                first = await steps.use(tx, steps.StepKind.SECOND_FACTOR, step)
                method = _WITH_CODE[first.read(_FirstFactor).method][recovery]
                return await self._in(tx, user, circumstances, method, limited=False)
        await self._refusals.write(
            user=user, reason="recovery_code" if recovery else "one_time_code"
        )
        raise refused("The code was not accepted.")

    async def _begin_code(
        self, step: str, known_browser: str, address: str
    ) -> tuple[KnownUser, tuple[attempts.Bucket, ...]]:
        async with self._database.transaction() as tx:
            await attempts.take(tx, attempts.address(address))
            first = await steps.look(tx, steps.StepKind.SECOND_FACTOR, step)
            user = await self._active_user(tx, first.user_id)
            if user is None:
                raise refused()
            browser = await repository.known_browser(tx, user, known_browser)
            bucket = attempts.account("code", user.id, browser=browser)
            await attempts.take(tx, bucket)
        return user, (bucket, attempts.address(address))

    async def _check_code(
        self, tx: Transaction, user: KnownUser, code: Secret, *, recovery: bool
    ) -> bool:
        if recovery:
            digest = one_time_codes.recovery_digest(code.text, user_id=user.id)
            if not await repository.use_recovery_code(tx, user, digest):
                return False
            await tx.record(AuditAction.RECOVERY_CODE_USED, user.id)
            return True
        stored = await repository.one_time_codes(tx, user)
        if stored is None or not stored.confirmed:
            return False
        secret = self._sealer.open(stored.sealed_secret, place=code_place(user)).decode()
        step = one_time_codes.step_of(secret, code.text, now=tx.now, after=stored.last_step)
        return step is not None and await repository.use_step(tx, user, step)

    # --- passkey ---------------------------------------------------------------------------

    async def passkey_challenge(self, *, address: str) -> tuple[str, dict[str, Any]]:
        """A step, and what the browser asks its passkeys with."""
        challenge = self._site.sign_in()
        async with self._database.transaction() as tx:
            await attempts.take(tx, attempts.address(address))
            step = await steps.begin(
                tx, steps.StepKind.PASSKEY_SIGN_IN, _Challenge(challenge.challenge)
            )
        return step, challenge.options

    async def with_passkey(
        self, *, step: str, response: dict[str, Any], circumstances: Circumstances
    ) -> Outcome:
        """Sign in by passkey; raises as ``with_password``."""
        address = attempts.address(circumstances.address)
        async with self._database.transaction() as tx:
            await attempts.take(tx, address)
            # A challenge is used up whatever comes of it.
            asked = await steps.use(tx, steps.StepKind.PASSKEY_SIGN_IN, step)
        digest = passkeys.credential_digest(response)
        async with self._database.reading() as tx:
            passkey = await repository.passkey_by_digest(tx, digest)
            user = await self._active_user(tx, passkey.user_id) if passkey else None
        if passkey is None or user is None:
            await self._refusals.write(user=None, reason="passkey_unknown")
            raise passkeys.refused()
        try:
            return await self._passkey_in(
                user, passkey, asked.read(_Challenge).challenge, response, circumstances
            )
        except SignInRefused:
            await self._refusals.write(user=user, reason="passkey")
            raise

    async def _passkey_in(
        self,
        user: KnownUser,
        seen: StoredPasskey,
        challenge: bytes,
        response: dict[str, Any],
        circumstances: Circumstances,
    ) -> Outcome:
        async with self._database.transaction(acting(user)) as tx:
            # Read again, and locked: two responses at the same moment are counted one by one.
            passkey = await repository.passkey_by_digest(tx, seen.credential_digest)
            if passkey is None:
                raise passkeys.refused()
            used = self._site.signed_in(response, passkey, challenge=challenge)
            await repository.passkey_used(
                tx, passkey, sign_count=used.sign_count, backed_up=used.backed_up
            )
            await attempts.give_back(tx, attempts.address(circumstances.address))
            return await self._in(tx, user, circumstances, SignInMethod.PASSKEY, limited=False)

    # --- link ------------------------------------------------------------------------------

    async def with_link(self, *, link: Secret, circumstances: Circumstances) -> Outcome:
        """Sign in by a one-time link, to set up how one signs in from then on."""
        address = attempts.address(circumstances.address)
        async with self._database.transaction() as tx:
            await attempts.take(tx, address)
            user_id = await repository.use_link(tx, digest_of(link.text, purpose="link"))
            user = await self._active_user(tx, user_id) if user_id else None
        if user is None:
            await self._refusals.write(user=None, reason="link")
            raise SignInRefused(
                "This link was used already, or is too old.",
                advice="Ask for another one. The owner's first link is printed again when the "
                "server starts.",
            )
        async with self._database.transaction(acting(user)) as tx:
            await attempts.give_back(tx, address)
            await tx.record(AuditAction.SIGN_IN_LINK_USED, user.id)
            return await self._in(tx, user, circumstances, SignInMethod.LINK, limited=True)

    async def with_invitation(
        self, *, secret: Secret, name: str, circumstances: Circumstances
    ) -> Outcome:
        """Accept an invitation, and set up how one signs in; raises ``ResourceNotFound``."""
        address = attempts.address(circumstances.address)
        async with self._database.transaction() as tx:
            await attempts.take(tx, address)
        async with self._database.transaction() as tx:
            user = await self._directory.accept_invitation(tx, secret.text, name=name)
            await attempts.give_back(tx, address)
        async with self._database.transaction(acting(user)) as tx:
            return await self._in(tx, user, circumstances, SignInMethod.LINK, limited=True)

    # --- all -------------------------------------------------------------------------------

    async def _in(
        self,
        tx: Transaction,
        user: KnownUser,
        circumstances: Circumstances,
        method: SignInMethod,
        *,
        limited: bool,
    ) -> Outcome:
        started = await self._sessions.start(
            tx, user, circumstances, method=method, limited=limited
        )
        known = "" if limited else await repository.remember_browser(tx, user)
        return Outcome(started=started, known_browser=known)

    async def _active_user(self, tx: Transaction, user_id: str) -> KnownUser | None:
        user = await self._directory.user(tx, user_id)
        return user if user and user.active else None


def acting(user: KnownUser) -> Caller:
    """The caller of what somebody does while they sign in."""
    return Caller(
        principal=Principal(kind=PrincipalKind.USER, id=user.id),
        organization_id=user.organization_id,
    )


def code_place(user: KnownUser) -> str:
    """Where a TOTP secret belongs, for the seal."""
    return f"totp/{user.organization_id}/{user.id}"


def refused(message: str = "The sign-in was not accepted.") -> SignInRefused:
    """The one answer to what does not open."""
    return SignInRefused(message, advice="Check what you have entered, and try again.")
