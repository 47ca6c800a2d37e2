"""A grant: the record that somebody holds a role or one permission, where, from when to when."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.platform.access.places import Place
from keylease.platform.access.snapshot import FOREVER, HeldGrant

HOLDER_KINDS: Final = ("user", "service_account", "group")


class NewGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that somebody wants to give."""

    holder: str
    """``user:ID``, ``service_account:ID`` or ``group:ID``."""
    role_id: str = ""
    permission: str = ""
    """Instead of a role."""
    place: Place = Place()
    starts_at: int | None = None
    """``None`` is now."""
    ends_at: int | None = None
    reason: str = ""
    """For whoever reviews it later."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as it was given. It never changes, but that it is revoked."""

    id: str
    holder: str
    role_id: str
    permission: str
    place: Place
    starts_at: int
    ends_at: int | None
    given_by: str
    given_at: int
    reason: str
    revoked_at: int | None = None
    revoked_by: str = ""
    version: int = 1

    def held(self) -> HeldGrant:
        """What decisions need of it."""
        return HeldGrant(
            id=self.id,
            holder=self.holder,
            role_id=self.role_id,
            permission=self.permission,
            place=self.place,
            starts_at=self.starts_at,
            ends_at=FOREVER if self.ends_at is None else self.ends_at,
        )
