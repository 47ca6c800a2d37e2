"""A command line is signed in from a browser (RFC 8628).

Protects: the device's code has 256 random bits and works once; the code a person types has 34 bits,
    lives ten minutes, and a person may try few. Nothing is approved by opening a page: who approves
    sees the device's name and address and presses a button, in a session without limits.
Does not protect: against somebody who is talked into typing another person's code. The page says
    so.
Limits: the device's name is what it calls itself.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import PrincipalKind
from keylease.errors import PermissionDenied, ResourceNotFound, TokenExchangeRefused
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.device_flow import repository
from keylease.platform.identity.device_flow.interfaces import (
    INTERVAL,
    PAGE,
    SECONDS,
    DeviceStart,
    DeviceState,
    WaitingDevice,
)
from keylease.platform.identity.device_flow.repository import StoredDevice
from keylease.platform.identity.interfaces import Directory
from keylease.platform.identity.one_time import digest_of, random_text
from keylease.platform.identity.sessions.devices import machine_name
from keylease.platform.identity.sessions.interfaces import (
    Circumstances,
    SessionKind,
    SignInMethod,
    StartedSession,
)
from keylease.platform.identity.sessions.service import Sessions, check_in_browser
from keylease.platform.identity.sign_in import attempts
from keylease.platform.identity.sign_in.service import acting
from keylease.primitives.clock import MICROSECONDS

_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word; nothing that looks like something else (section 6.1)."""
_USER_CODE: Final = re.compile(rf"[{_LETTERS}]{{8}}")
_SLOWER: Final = 5
_SLOWEST: Final = 60


class DeviceFlow:
    """Devices that wait for a person."""

    def __init__(
        self, database: Database, *, directory: Directory, sessions: Sessions, public_url: str
    ) -> None:
        self._database = database
        self._directory = directory
        self._sessions = sessions
        self._public_url = public_url

    async def begin(self, *, device: str, address: str) -> DeviceStart:
        """A device wants to be signed in."""
        device_code = random_text()
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        async with self._database.transaction() as tx:
            await attempts.take(tx, attempts.address(address))
            stored = StoredDevice(
                id=tx.new_id(),
                organization_id="",
                device_digest=digest_of(device_code, purpose="device"),
                user_code_digest=_user_code_digest(letters),
                state=DeviceState.PENDING,
                user_id="",
                method="",
                device=machine_name(device) or "A command line",
                address=address[:64],
                interval_seconds=INTERVAL,
                polled_at=0,
                created_at=tx.now,
                expires_at=tx.now + SECONDS * MICROSECONDS,
            )
            await repository.add(tx, stored)
        user_code = f"{letters[:4]}-{letters[4:]}"
        page = self._public_url + PAGE
        return DeviceStart(
            device_code=device_code,
            user_code=user_code,
            verification_uri=page,
            verification_uri_complete=f"{page}?code={user_code}",
            expires_in=SECONDS,
            interval=INTERVAL,
        )

    async def look(self, caller: Caller, user_code: str) -> WaitingDevice:
        """Which device a code belongs to; raises ``ResourceNotFound`` and ``TooManyAttempts``."""
        device = await self._waiting(caller, user_code)
        return WaitingDevice(
            id=device.id, device=device.device, address=device.address, created_at=device.created_at
        )

    async def decide(self, caller: Caller, user_code: str, *, approve: bool) -> None:
        """Sign the device in as the caller, or send it away; raises as ``look``."""
        if caller.permissions is not None:
            raise PermissionDenied(
                "Finish setting up how you sign in before you approve a device.",
            )
        session = await self._sessions.current(caller)
        check_in_browser(session)
        await self._waiting(caller, user_code)
        async with self._database.transaction(caller) as tx:
            device = await self._find(tx, user_code)
            state = DeviceState.APPROVED if approve else DeviceState.DENIED
            await repository.decide(
                tx, device.id, state=state, user_id=session.user_id, method=session.method.value
            )
            action = AuditAction.DEVICE_APPROVED if approve else AuditAction.DEVICE_DENIED
            await tx.record(action, device.id)

    async def poll(self, device_code: str, *, address: str) -> StartedSession:
        """The session, once a person has approved.

        Raises ``TokenExchangeRefused`` with the error code that RFC 8628 section 3.5 has for it.
        """
        digest = digest_of(device_code, purpose="device")
        async with self._database.transaction() as tx:
            device = await repository.by_device_code(tx, digest)
            if device is not None and device.state is DeviceState.PENDING:
                refusal = await self._wait(tx, device)
            else:
                refusal = None
        if device is None:
            await self._count_wrong(address)
            raise _oauth("expired_token", "The code is not known, or its time is over.")
        if refusal is not None:
            raise refusal
        return await self._finish(device)

    async def _finish(self, device: StoredDevice) -> StartedSession:
        async with self._database.transaction() as tx:
            user = await self._directory.user(tx, device.user_id)
            used = await repository.use(tx, device.id)
        if not used:
            raise _oauth("expired_token", "The code was used already.")
        if device.state is not DeviceState.APPROVED or user is None or not user.active:
            raise _oauth("access_denied", "Somebody has refused this device.")
        circumstances = Circumstances(
            kind=SessionKind.COMMAND_LINE, device=device.device, address=device.address
        )
        async with self._database.transaction(acting(user)) as tx:
            return await self._sessions.start(
                tx, user, circumstances, method=SignInMethod(device.method), limited=False
            )

    async def _wait(self, tx: Transaction, device: StoredDevice) -> TokenExchangeRefused:
        too_early = tx.now - device.polled_at < device.interval_seconds * MICROSECONDS
        interval = device.interval_seconds + (_SLOWER if too_early else 0)
        await repository.note_poll(tx, device.id, interval_seconds=min(interval, _SLOWEST))
        if too_early:
            return _oauth("slow_down", f"Ask every {interval} seconds.")
        return _oauth("authorization_pending", "Nobody has decided yet.")

    async def _count_wrong(self, address: str) -> None:
        async with self._database.transaction() as tx:
            await attempts.take(tx, attempts.address(address))

    async def _waiting(self, caller: Caller, user_code: str) -> StoredDevice:
        principal = caller.principal
        if principal is None or principal.kind is not PrincipalKind.USER or not caller.session_id:
            raise PermissionDenied("Only a person who is signed in may approve a device.")
        bucket = attempts.user_codes(principal.id)
        async with self._database.transaction(caller) as tx:
            await attempts.take(tx, bucket)
        async with self._database.transaction(caller) as tx:
            device = await self._find(tx, user_code)
            await attempts.give_back(tx, bucket)
        return device

    async def _find(self, tx: Transaction, user_code: str) -> StoredDevice:
        letters = re.sub(r"[\s-]+", "", user_code).upper()
        found = None
        if _USER_CODE.fullmatch(letters):
            found = await repository.by_user_code(tx, _user_code_digest(letters))
        if found is None:
            raise ResourceNotFound(
                "No device waits with this code.", advice="Compare it with what the device shows."
            )
        return found


def _user_code_digest(letters: str) -> str:
    return digest_of(letters, purpose="user-code")


def _oauth(code: str, message: str) -> TokenExchangeRefused:
    return TokenExchangeRefused(message, oauth_error=code)
