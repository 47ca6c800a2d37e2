"""Stores roles, grants and versions. Every statement names the organization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, insert, or_, select, update

from keylease.platform.access.grants import Grant
from keylease.platform.access.interfaces import Directory
from keylease.platform.access.places import Place
from keylease.platform.access.roles import BUILT_IN, Role, known_permissions
from keylease.platform.access.snapshot import (
    FOREVER,
    GrantsAt,
    HeldGrant,
    Snapshot,
    with_grants,
)
from keylease.platform.access.tables import ACCESS_VERSIONS, GRANTS, ROLES
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Row, Transaction
from keylease.primitives.clock import MICROSECONDS

_ENDED_LONG_AGO: Final = 30 * 86_400 * MICROSECONDS
"""Grants that ended before this are not read: nobody needs to hear that they once were."""
_decode_texts: Final = msgspec.json.Decoder(list[str]).decode


class Versions(msgspec.Struct, frozen=True):
    """Where an organization's rules are."""

    version: int = 0
    directory_version: int = 0


async def versions(tx: Transaction, organization_id: str) -> Versions:
    """The versions now; one look-up by primary key."""
    table = ACCESS_VERSIONS
    row = await tx.row(
        select(table.c.version, table.c.directory_version).where(
            table.c.organization_id == organization_id
        )
    )
    return Versions(row["version"], row["directory_version"]) if row else Versions()


async def count_up(tx: Transaction, organization_id: str, *, directory: bool) -> int:
    """Begin a change: take the organization's lock until the commit; gives the new version."""
    table = ACCESS_VERSIONS
    values = {"version": table.c.version + 1}
    if directory:
        values["directory_version"] = table.c.version + 1
    changed = await tx.execute(
        update(table).where(table.c.organization_id == organization_id).values(values)
    )
    if changed.rowcount == 0:
        await tx.execute(
            insert(table).values(organization_id=organization_id, version=1, directory_version=1)
        )
    return (await versions(tx, organization_id)).version


async def read_snapshot(
    tx: Transaction, organization_id: str, directory: Directory, *, known: Snapshot | None = None
) -> Snapshot:
    """The organization's rules as the transaction sees them, catching up from ``known``."""
    now = await versions(tx, organization_id)
    before = known or Snapshot(organization_id=organization_id)
    if known is not None and known.version == now.version:
        return known
    roles = {
        role.id: role.permissions
        for role in (*BUILT_IN.values(), *await all_roles(tx, organization_id))
    }
    grants = await _catch_up(tx, before)
    result = msgspec.structs.replace(
        before,
        version=now.version,
        directory_version=now.directory_version,
        roles=roles,
        grants=grants,
    )
    if known is not None and known.directory_version == now.directory_version:
        return result
    return msgspec.structs.replace(
        result,
        groups_of=await directory.memberships(tx, organization_id),
        projects=await directory.project_ids(tx, organization_id),
        principals=await directory.acting_principals(tx, organization_id),
    )


async def _catch_up(tx: Transaction, known: Snapshot) -> Mapping[str, GrantsAt]:
    c = GRANTS.c
    wanted = (
        c.id, c.holder, c.role_id, c.permission, c.project_id, c.object,
        c.starts_at, c.ends_at, c.revoked_at,
    )  # fmt: skip
    where = [c.organization_id == known.organization_id, c.access_version > known.version]
    if known.version == 0:
        where.append(c.revoked_at.is_(None))
        where.append(or_(c.ends_at.is_(None), c.ends_at > tx.now - _ENDED_LONG_AGO))
    rows: Iterable[Any] = (await tx.execute(select(*wanted).where(*where))).all()
    places: dict[Place, Place] = {}  # one object for each place, however many grants name it
    changed = []
    gone = {}
    for grant_id, holder, role_id, permission, project_id, named, starts, ends, revoked in rows:
        if revoked is not None:
            gone[grant_id] = holder
            continue
        place = Place(project_id=project_id, object=named)
        changed.append(
            HeldGrant(
                id=grant_id,
                holder=holder,
                role_id=role_id,
                # That of a newer program gives nothing here.
                permission=permission if known_permissions([permission]) else "",
                place=places.setdefault(place, place),
                starts_at=starts,
                ends_at=FOREVER if ends is None else ends,
            )
        )
    return with_grants(known.grants, changed=changed, gone=gone)


async def all_roles(tx: Transaction, organization_id: str) -> Sequence[Role]:
    """The organization's own roles, by name."""
    rows = await tx.rows(
        select(ROLES)
        .where(ROLES.c.organization_id == organization_id, ROLES.c.removed_at.is_(None))
        .order_by(ROLES.c.name)
    )
    return tuple(map(_role, rows))


async def role(tx: Transaction, organization_id: str, role_id: str) -> Role | None:
    """One role, built-in or own."""
    if (built_in := BUILT_IN.get(role_id)) is not None:
        return built_in
    row = await tx.row(
        select(ROLES).where(
            ROLES.c.organization_id == organization_id,
            ROLES.c.id == role_id,
            ROLES.c.removed_at.is_(None),
        )
    )
    return _role(row) if row else None


async def add_role(tx: Transaction, organization_id: str, new: Role) -> None:
    """Store a new role."""
    await tx.execute(
        insert(ROLES).values(
            id=new.id,
            organization_id=organization_id,
            created_at=tx.now,
            version=1,
            **_role_values(new),
        )
    )


async def change_role(tx: Transaction, organization_id: str, changed: Role) -> None:
    """Store a role again, at its next version."""
    await tx.execute(
        update(ROLES)
        .where(ROLES.c.organization_id == organization_id, ROLES.c.id == changed.id)
        .values(version=changed.version, **_role_values(changed))
    )


async def remove_role(tx: Transaction, organization_id: str, role_id: str) -> None:
    """Take a role out of use."""
    await tx.execute(
        update(ROLES)
        .where(ROLES.c.organization_id == organization_id, ROLES.c.id == role_id)
        .values(removed_at=tx.now, version=ROLES.c.version + 1)
    )


async def add_grant(
    tx: Transaction, organization_id: str, new: Grant, *, access_version: int
) -> None:
    """Store a new grant."""
    await tx.execute(
        insert(GRANTS).values(
            id=new.id,
            organization_id=organization_id,
            holder=new.holder,
            role_id=new.role_id,
            permission=new.permission,
            project_id=new.place.project_id,
            object=new.place.object,
            starts_at=new.starts_at,
            ends_at=new.ends_at,
            given_by=new.given_by,
            given_at=new.given_at,
            reason=new.reason,
            revoked_by="",
            access_version=access_version,
            version=1,
        )
    )


async def revoke_grants(
    tx: Transaction, organization_id: str, grant_ids: Sequence[str], *, access_version: int
) -> None:
    """Mark grants as revoked by the caller, now."""
    c = GRANTS.c
    await tx.execute(
        update(GRANTS)
        .where(c.organization_id == organization_id, c.id.in_(grant_ids), c.revoked_at.is_(None))
        .values(
            revoked_at=tx.now,
            revoked_by=tx.caller.name,
            access_version=access_version,
            version=c.version + 1,
        )
    )


async def grant(tx: Transaction, organization_id: str, grant_id: str) -> Grant | None:
    """One grant, revoked or not."""
    row = await tx.row(
        select(GRANTS).where(GRANTS.c.organization_id == organization_id, GRANTS.c.id == grant_id)
    )
    return _grant(row) if row else None


class GrantFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which grants are asked for; empty parts are "any"."""

    holder: str = ""
    role_id: str = ""
    project_id: str = ""
    object: str = ""
    live_at: int | None = None
    """Only what is neither revoked nor over at this time."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a WHERE clause."""
        c = GRANTS.c
        wanted = {
            "holder": self.holder,
            "role_id": self.role_id,
            "project_id": self.project_id,
            "object": self.object,
        }
        conditions = [c[name] == value for name, value in wanted.items() if value]
        if self.live_at is not None:
            conditions.append(c.revoked_at.is_(None))
            conditions.append(or_(c.ends_at.is_(None), c.ends_at > self.live_at))
        return conditions


async def grants(
    tx: Transaction, organization_id: str, wanted: GrantFilter, page: PageRequest | None = None
) -> Sequence[Grant]:
    """Grants, the oldest first; one more than ``page`` asks for."""
    c = GRANTS.c
    query = select(GRANTS).where(c.organization_id == organization_id, *wanted.conditions())
    query = query.order_by(c.id)
    if page is not None:
        if (after := page.after()) is not None:
            query = query.where(c.id > after[0])
        query = query.limit(page.limit + 1)
    return tuple(map(_grant, await tx.rows(query)))


def _role_values(value: Role) -> dict[str, object]:
    return {
        "name": value.name,
        "description": value.description,
        "permissions": msgspec.json.encode(sorted(value.permissions)),
    }


def _role(row: Row) -> Role:
    return Role(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        permissions=known_permissions(_decode_texts(row["permissions"])),
        version=row["version"],
    )


def _grant(row: Row) -> Grant:
    return Grant(
        id=row["id"],
        holder=row["holder"],
        role_id=row["role_id"],
        permission=row["permission"],
        place=Place(project_id=row["project_id"], object=row["object"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        given_by=row["given_by"],
        given_at=row["given_at"],
        reason=row["reason"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
        version=row["version"],
    )
