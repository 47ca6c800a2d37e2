"""An organization's rules for signing in, and for the age of its API keys."""

from __future__ import annotations

import re
from typing import Final, Protocol

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, VersionChanged
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.sign_in import repository
from keylease.platform.identity.sign_in.interfaces import SignInSettings

_DOMAIN: Final = re.compile(r"(?=.{3,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


class Keys(Protocol):
    """What a shorter life of API keys has to reach."""

    async def shorten(self, tx: Transaction, organization_id: str, *, days: int) -> int:
        """End keys earlier that would live longer than this from now; gives how many."""
        ...


class SettingsService:
    """Reads and changes them."""

    def __init__(self, database: Database, *, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def read(self, caller: Caller) -> SignInSettings:
        """Those of the caller's organization."""
        async with self._database.reading(caller) as tx:
            return await repository.settings(tx, caller.organization_id)

    async def change(
        self, caller: Caller, wanted: SignInSettings, *, expected: int
    ) -> SignInSettings:
        """Replace version ``expected``; raises ``VersionChanged`` and ``InputInvalid``."""
        domains = tuple(dict.fromkeys(domain.lower() for domain in wanted.domains))
        for domain in domains:
            if not _DOMAIN.fullmatch(domain):
                raise InputInvalid("A domain is a name such as example.com, without an @.")
        async with self._database.transaction(caller) as tx:
            before = await repository.settings(tx, caller.organization_id)
            if before.version != expected:
                raise VersionChanged(
                    f"The settings are at version {before.version} now.",
                    advice="Read them again and repeat the change.",
                )
            after = msgspec.structs.replace(wanted, domains=domains, version=expected + 1)
            await repository.set_settings(tx, caller.organization_id, after)
            names = [
                name
                for name in SignInSettings.__struct_fields__
                if name != "version" and getattr(before, name) != getattr(after, name)
            ]
            details = {name: _told(getattr(after, name)) for name in names}
            if after.maximum_key_days < before.maximum_key_days:
                shortened = await self._keys.shorten(
                    tx, caller.organization_id, days=after.maximum_key_days
                )
                details["keys_shortened"] = str(shortened)
            await tx.record(
                AuditAction.SIGN_IN_SETTINGS_CHANGED, caller.organization_id, details=details
            )
        return after


def _told(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
