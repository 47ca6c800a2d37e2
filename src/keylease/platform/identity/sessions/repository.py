"""The only user of the sessions' table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.identity.reading import shaped
from keylease.platform.identity.sessions.interfaces import Session
from keylease.platform.identity.sessions.tables import SESSIONS


class StoredSession(Session, frozen=True, kw_only=True):
    """A session with what its texts are recognised by."""

    digest: str
    previous_digest: str
    previous_until: int | None


async def add(tx: Transaction, session: StoredSession) -> None:
    """Keep a new one."""
    await tx.execute(insert(SESSIONS).values(**msgspec.structs.asdict(session)))


async def by_digest(tx: Transaction, digest: str) -> StoredSession | None:
    """The one whose text, or whose previous text, has this digest."""
    row = await tx.row(
        select(SESSIONS).where(
            or_(SESSIONS.c.digest == digest, SESSIONS.c.previous_digest == digest)
        )
    )
    return _read(row) if row else None


async def by_id(tx: Transaction, organization_id: str, session_id: str) -> StoredSession | None:
    """A session of this organization."""
    row = await tx.row(
        select(SESSIONS).where(
            SESSIONS.c.organization_id == organization_id, SESSIONS.c.id == session_id
        )
    )
    return _read(row) if row else None


async def page(
    tx: Transaction, organization_id: str, request: PageRequest, *, user_id: str = ""
) -> Sequence[StoredSession]:
    """Sessions that have not expired, oldest first; of one user when one is named."""
    conditions: list[ColumnElement[bool]] = [
        SESSIONS.c.organization_id == organization_id,
        SESSIONS.c.expires_at > tx.now,
    ]
    if user_id:
        conditions.append(SESSIONS.c.user_id == user_id)
    if (after := request.after(1)) is not None:
        conditions.append(SESSIONS.c.id > after[0])
    rows = await tx.rows(
        select(SESSIONS).where(*conditions).order_by(SESSIONS.c.id).limit(request.limit + 1)
    )
    return [_read(row) for row in rows]


async def change(tx: Transaction, session_id: str, **values: Any) -> None:  # noqa: ANN401 - columns
    """Change columns of one."""
    await tx.execute(update(SESSIONS).where(SESSIONS.c.id == session_id).values(**values))


async def remove(tx: Transaction, organization_id: str, session_id: str) -> bool:
    """End one; whether there was one."""
    done = await tx.execute(
        delete(SESSIONS).where(
            SESSIONS.c.organization_id == organization_id, SESSIONS.c.id == session_id
        )
    )
    return bool(done.rowcount)


async def remove_of_user(
    tx: Transaction, organization_id: str, user_id: str, *, keep: str = ""
) -> Sequence[str]:
    """End all of a user's but one; gives their identifiers."""
    condition = (
        SESSIONS.c.organization_id == organization_id,
        SESSIONS.c.user_id == user_id,
        SESSIONS.c.id != keep,
    )
    ids = [str(row["id"]) for row in await tx.rows(select(SESSIONS.c.id).where(*condition))]
    await tx.execute(delete(SESSIONS).where(*condition))
    return ids


async def remove_expired(tx: Transaction) -> None:
    """Remove what opens nothing any more."""
    await tx.execute(delete(SESSIONS).where(SESSIONS.c.expires_at <= tx.now))


def _read(row: Row) -> StoredSession:
    return shaped(row, StoredSession)
