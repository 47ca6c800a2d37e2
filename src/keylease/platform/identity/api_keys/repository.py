"""The only user of the table of API keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, insert, or_, select, update

from keylease.errors import ResourceNotFound
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.identity.api_keys.interfaces import USED_SECONDS, ApiKey
from keylease.platform.identity.api_keys.tables import API_KEYS
from keylease.platform.identity.reading import shaped
from keylease.primitives.clock import MICROSECONDS


class StoredApiKey(ApiKey, frozen=True, kw_only=True):
    """With what its texts are recognised by."""

    digest: str
    previous_digest: str | None
    shown_to: tuple[str, ...]
    """Principals who were shown a text of it, so that they could act as its owner."""

    def without_digests(self) -> ApiKey:
        """As it may be shown."""
        return ApiKey(**{name: getattr(self, name) for name in ApiKey.__struct_fields__})


async def add(tx: Transaction, key: StoredApiKey) -> None:
    """Keep a new one."""
    await tx.execute(insert(API_KEYS).values(**_columns(key)))


async def by_id(
    tx: Transaction, organization_id: str, key_id: str, *, lock: bool = False
) -> StoredApiKey:
    """A key of this organization; raises ``ResourceNotFound``."""
    query = select(API_KEYS).where(
        API_KEYS.c.organization_id == organization_id, API_KEYS.c.id == key_id
    )
    row = await tx.row(query.with_for_update() if lock else query)
    if row is None:
        raise ResourceNotFound("There is no such API key.")
    return _read(row)


async def by_digest(tx: Transaction, digest: str) -> StoredApiKey | None:
    """The key whose text, or whose text before its last rotation, has this digest."""
    row = await tx.row(
        select(API_KEYS).where(
            or_(API_KEYS.c.digest == digest, API_KEYS.c.previous_digest == digest)
        )
    )
    return _read(row) if row else None


async def page(
    tx: Transaction,
    organization_id: str,
    request: PageRequest,
    *,
    principal: str = "",
    usable_only: bool = False,
) -> Sequence[StoredApiKey]:
    """Keys in the order of their making; of one principal when one is named."""
    conditions: list[ColumnElement[bool]] = [API_KEYS.c.organization_id == organization_id]
    if principal:
        conditions.append(API_KEYS.c.principal == principal)
    if usable_only:
        conditions += [API_KEYS.c.revoked_at.is_(None), API_KEYS.c.expires_at > tx.now]
    if (after := request.after(1)) is not None:
        conditions.append(API_KEYS.c.id > after[0])
    rows = await tx.rows(
        select(API_KEYS).where(*conditions).order_by(API_KEYS.c.id).limit(request.limit + 1)
    )
    return [_read(row) for row in rows]


async def usable(
    tx: Transaction, organization_id: str, *, principal: str = ""
) -> Sequence[StoredApiKey]:
    """All keys that open something now."""
    conditions = [
        API_KEYS.c.organization_id == organization_id,
        API_KEYS.c.revoked_at.is_(None),
        API_KEYS.c.expires_at > tx.now,
    ]
    if principal:
        conditions.append(API_KEYS.c.principal == principal)
    rows = await tx.rows(select(API_KEYS).where(*conditions).order_by(API_KEYS.c.id))
    return [_read(row) for row in rows]


async def shown_to(tx: Transaction, organization_id: str, principal: str) -> frozenset[str]:
    """Who was ever shown a text of a key of this principal, also of one that opens nothing now."""
    rows = await tx.rows(
        select(API_KEYS.c.shown_to).where(
            API_KEYS.c.organization_id == organization_id, API_KEYS.c.principal == principal
        )
    )
    return frozenset(name for row in rows for name in msgspec.json.decode(row["shown_to"]))


async def change(tx: Transaction, key: StoredApiKey) -> None:
    """Write a key back; the caller has it locked."""
    await tx.execute(update(API_KEYS).where(API_KEYS.c.id == key.id).values(**_columns(key)))


async def note_use(tx: Transaction, key_id: str) -> None:
    """Remember that it was used; not part of its version."""
    await tx.execute(
        update(API_KEYS)
        .where(
            API_KEYS.c.id == key_id,
            or_(
                API_KEYS.c.used_at.is_(None),
                API_KEYS.c.used_at < tx.now - USED_SECONDS * MICROSECONDS,
            ),
        )
        .values(used_at=tx.now)
    )


def _columns(key: StoredApiKey) -> dict[str, Any]:
    values = msgspec.structs.asdict(key)
    values["permissions"] = msgspec.json.encode(key.permissions)
    values["shown_to"] = msgspec.json.encode(key.shown_to)
    values["kind"] = key.kind.value
    return values


def _read(row: Row) -> StoredApiKey:
    values = dict(row)
    values["permissions"] = msgspec.json.decode(values["permissions"])
    values["shown_to"] = msgspec.json.decode(values["shown_to"])
    return shaped(values, StoredApiKey)
