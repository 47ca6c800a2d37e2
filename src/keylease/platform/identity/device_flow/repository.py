"""The only user of the table of waiting devices."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update

from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.device_flow.interfaces import DeviceState
from keylease.platform.identity.device_flow.tables import AUTHORIZATIONS
from keylease.platform.identity.reading import shaped


class StoredDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that waits, or was decided about and has not asked since."""

    id: str
    organization_id: str
    device_digest: str
    user_code_digest: str
    state: DeviceState
    user_id: str
    method: str
    device: str
    address: str
    interval_seconds: int
    polled_at: int
    created_at: int
    expires_at: int


async def add(tx: Transaction, device: StoredDevice) -> None:
    """Keep a new one, and forget those whose time is over."""
    await tx.execute(delete(AUTHORIZATIONS).where(AUTHORIZATIONS.c.expires_at <= tx.now))
    with unless_made_meanwhile():
        await tx.execute(insert(AUTHORIZATIONS).values(**msgspec.structs.asdict(device)))


async def by_device_code(tx: Transaction, digest: str) -> StoredDevice | None:
    """By what the device has; locked until the transaction ends."""
    row = await tx.row(
        select(AUTHORIZATIONS)
        .where(AUTHORIZATIONS.c.device_digest == digest, AUTHORIZATIONS.c.expires_at > tx.now)
        .with_for_update()
    )
    return shaped(row, StoredDevice) if row else None


async def by_user_code(tx: Transaction, digest: str) -> StoredDevice | None:
    """By what a person types; only one that nobody has decided about."""
    row = await tx.row(
        select(AUTHORIZATIONS)
        .where(
            AUTHORIZATIONS.c.user_code_digest == digest,
            AUTHORIZATIONS.c.state == DeviceState.PENDING.value,
            AUTHORIZATIONS.c.expires_at > tx.now,
        )
        .with_for_update()
    )
    return shaped(row, StoredDevice) if row else None


async def decide(
    tx: Transaction, device_id: str, *, state: DeviceState, user_id: str, method: str
) -> None:
    """Note what somebody of the caller's organization has decided."""
    await tx.execute(
        update(AUTHORIZATIONS)
        .where(AUTHORIZATIONS.c.id == device_id)
        .values(
            state=state.value,
            organization_id=tx.caller.organization_id,
            user_id=user_id,
            method=method,
        )
    )


async def note_poll(tx: Transaction, device_id: str, *, interval_seconds: int) -> None:
    """Note that the device has asked."""
    await tx.execute(
        update(AUTHORIZATIONS)
        .where(AUTHORIZATIONS.c.id == device_id)
        .values(polled_at=tx.now, interval_seconds=interval_seconds)
    )


async def use(tx: Transaction, device_id: str) -> bool:
    """Remove one, because it has its answer; whether nobody did before."""
    done = await tx.execute(delete(AUTHORIZATIONS).where(AUTHORIZATIONS.c.id == device_id))
    return bool(done.rowcount)
