"""The only user of the tables of outside issuers and identities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from keylease.errors import ResourceNotFound, VersionChanged
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.outside.interfaces import OfferedIssuer, OutsideIssuer
from keylease.platform.identity.outside.tables import IDENTITIES, ISSUERS
from keylease.platform.identity.reading import shaped


class StoredIssuer(OutsideIssuer, frozen=True, kw_only=True):
    """With its sealed client secret."""

    sealed_client_secret: bytes | None


async def add(tx: Transaction, issuer: StoredIssuer) -> None:
    """Keep a new one; raises ``ResourceConflict`` for a name that is taken."""
    with unless_made_meanwhile():
        await tx.execute(insert(ISSUERS).values(**_columns(issuer)))


async def change(tx: Transaction, issuer: StoredIssuer) -> None:
    """Replace version ``issuer.version - 1``; raises ``VersionChanged``."""
    statement = update(ISSUERS).where(
        ISSUERS.c.organization_id == issuer.organization_id,
        ISSUERS.c.id == issuer.id,
        ISSUERS.c.version == issuer.version - 1,
    )
    with unless_made_meanwhile():
        done = await tx.execute(statement.values(**_columns(issuer)))
    if not done.rowcount:
        raise VersionChanged("Somebody else has changed the issuer.")


async def remove(tx: Transaction, issuer: StoredIssuer) -> None:
    """Remove an issuer and whom it stood for."""
    await tx.execute(
        delete(IDENTITIES).where(
            IDENTITIES.c.organization_id == issuer.organization_id,
            IDENTITIES.c.issuer_id == issuer.id,
        )
    )
    await tx.execute(
        delete(ISSUERS).where(
            ISSUERS.c.organization_id == issuer.organization_id, ISSUERS.c.id == issuer.id
        )
    )


async def by_id(
    tx: Transaction, issuer_id: str, *, organization_id: str | None = None
) -> StoredIssuer:
    """An issuer, of any organization before somebody is known; raises ``ResourceNotFound``."""
    query = select(ISSUERS).where(ISSUERS.c.id == issuer_id)
    if organization_id is not None:
        query = query.where(ISSUERS.c.organization_id == organization_id)
    row = await tx.row(query)
    if row is None:
        raise ResourceNotFound("There is no such issuer.")
    return _read(row)


async def page(
    tx: Transaction, organization_id: str, request: PageRequest
) -> Sequence[StoredIssuer]:
    """An organization's, in the order of their making."""
    query = select(ISSUERS).where(ISSUERS.c.organization_id == organization_id)
    if (after := request.after(1)) is not None:
        query = query.where(ISSUERS.c.id > after[0])
    rows = await tx.rows(query.order_by(ISSUERS.c.id).limit(request.limit + 1))
    return [_read(row) for row in rows]


async def offered(tx: Transaction, organization_id: str) -> list[OfferedIssuer]:
    """What the sign-in page shows: an organization's, or the only organization's that has some.

    With several organizations the page has to say which one: a list of all would tell strangers
    who else is here.
    """
    query = select(ISSUERS.c.id, ISSUERS.c.name, ISSUERS.c.organization_id)
    if organization_id:
        query = query.where(ISSUERS.c.organization_id == organization_id)
    rows = await tx.rows(query.order_by(ISSUERS.c.id).limit(50))
    if len({row["organization_id"] for row in rows}) > 1:
        return []
    return [OfferedIssuer(row["id"], row["name"]) for row in rows]


async def linked(tx: Transaction, issuer: StoredIssuer, subject_digest: str) -> str | None:
    """The user that a subject of an issuer is here."""
    row = await tx.row(
        select(IDENTITIES.c.user_id).where(
            IDENTITIES.c.organization_id == issuer.organization_id,
            IDENTITIES.c.issuer_id == issuer.id,
            IDENTITIES.c.subject_digest == subject_digest,
        )
    )
    return str(row["user_id"]) if row else None


async def link(tx: Transaction, issuer: StoredIssuer, subject_digest: str, user: KnownUser) -> None:
    """Remember who a subject is; raises ``ResourceConflict`` when it is somebody already."""
    with unless_made_meanwhile():
        await tx.execute(
            insert(IDENTITIES).values(
                issuer_id=issuer.id,
                subject_digest=subject_digest,
                organization_id=user.organization_id,
                user_id=user.id,
                linked_at=tx.now,
            )
        )


async def issuers_of_user(tx: Transaction, user: KnownUser) -> list[str]:
    """Through which issuers a user can sign in."""
    rows = await tx.rows(
        select(IDENTITIES.c.issuer_id)
        .where(
            IDENTITIES.c.organization_id == user.organization_id, IDENTITIES.c.user_id == user.id
        )
        .order_by(IDENTITIES.c.issuer_id)
    )
    return [str(row["issuer_id"]) for row in rows]


async def unlink_all(tx: Transaction, user: KnownUser) -> None:
    """Forget who the user is outside."""
    await tx.execute(
        delete(IDENTITIES).where(
            IDENTITIES.c.organization_id == user.organization_id, IDENTITIES.c.user_id == user.id
        )
    )


def _columns(issuer: StoredIssuer) -> dict[str, Any]:
    values = msgspec.structs.asdict(issuer)
    values["groups"] = msgspec.json.encode(issuer.groups)
    del values["has_client_secret"]
    return values


def _read(row: Row) -> StoredIssuer:
    values = dict(row)
    values["groups"] = msgspec.json.decode(values["groups"])
    values["has_client_secret"] = values["sealed_client_secret"] is not None
    return shaped(values, StoredIssuer)
