"""Stores gateways, codes and nonces. What is asked for by people names the organization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from keylease.contracts.platform_link import PollRequest
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.gateways.gateway import Gateway, StoredCode
from keylease.platform.gateways.tables import CODES, GATEWAYS, NONCES

_decode_report: Final = msgspec.json.Decoder(PollRequest).decode

# --- codes ---------------------------------------------------------------------------------


async def add_code(tx: Transaction, code: StoredCode) -> None:
    """Store a code without its text."""
    values = msgspec.structs.asdict(code)
    values["gateway_group"] = values.pop("group")
    await tx.execute(insert(CODES).values(values))


async def code(tx: Transaction, code_id: str) -> StoredCode | None:
    """A code by its id, whoever's it is."""
    row = await tx.row(select(CODES).where(CODES.c.id == code_id))
    return _code(row) if row else None


async def codes(tx: Transaction, organization_id: str, page: PageRequest) -> list[StoredCode]:
    """The newest first; one more than the page holds."""
    query = select(CODES).where(CODES.c.organization_id == organization_id)
    if (after := page.after()) is not None:
        query = query.where(CODES.c.id < after[0])
    rows = await tx.rows(query.order_by(CODES.c.id.desc()).limit(page.limit + 1))
    return [_code(row) for row in rows]


async def use_code(tx: Transaction, code_id: str, *, gateway_id: str) -> bool:
    """Use a code up; false when somebody else was quicker."""
    changed = await tx.execute(
        update(CODES)
        .where(CODES.c.id == code_id, CODES.c.used_at.is_(None), CODES.c.withdrawn_at.is_(None))
        .values(used_at=tx.now, gateway_id=gateway_id)
    )
    return changed.rowcount == 1


async def withdraw_code(tx: Transaction, organization_id: str, code_id: str) -> bool:
    """Take a code back; false when there is nothing to take back."""
    changed = await tx.execute(
        update(CODES)
        .where(
            CODES.c.id == code_id,
            CODES.c.organization_id == organization_id,
            CODES.c.used_at.is_(None),
            CODES.c.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=tx.now)
    )
    return changed.rowcount == 1


# --- gateways ------------------------------------------------------------------------------


async def add(tx: Transaction, gateway: Gateway) -> None:
    """Store a new gateway."""
    await tx.execute(
        insert(GATEWAYS).values(
            id=gateway.id,
            organization_id=gateway.organization_id,
            gateway_group=gateway.group,
            name=gateway.name,
            public_key=gateway.public_key,
            version=gateway.version,
            enrolled_at=gateway.enrolled_at,
            enrolled_with=gateway.enrolled_with,
            revoked_by="",
            link=gateway.link,
            software=gateway.software,
            policy_version=0,
            witness_key="",
        )
    )


async def by_id(tx: Transaction, gateway_id: str) -> Gateway | None:
    """A gateway, whoever's it is: for its own requests."""
    row = await tx.row(select(GATEWAYS).where(GATEWAYS.c.id == gateway_id))
    return _gateway(row) if row else None


async def of_organization(tx: Transaction, organization_id: str, gateway_id: str) -> Gateway | None:
    """A gateway of one organization: for people."""
    found = await by_id(tx, gateway_id)
    return found if found is not None and found.organization_id == organization_id else None


async def page(
    tx: Transaction, organization_id: str, request: PageRequest, *, group: str = ""
) -> list[Gateway]:
    """By group and id; one more than the page holds."""
    key = (GATEWAYS.c.gateway_group, GATEWAYS.c.id)
    query = select(GATEWAYS).where(GATEWAYS.c.organization_id == organization_id)
    if group:
        query = query.where(GATEWAYS.c.gateway_group == group)
    if (after := request.after(2)) is not None:
        query = query.where(tuple_(*key) > after)
    rows = await tx.rows(query.order_by(*key).limit(request.limit + 1))
    return [_gateway(row) for row in rows]


async def enrolled(tx: Transaction, organization_id: str) -> list[Gateway]:
    """Every gateway that was not revoked."""
    rows = await tx.rows(
        select(GATEWAYS)
        .where(GATEWAYS.c.organization_id == organization_id, GATEWAYS.c.revoked_at.is_(None))
        .order_by(GATEWAYS.c.gateway_group, GATEWAYS.c.id)
    )
    return [_gateway(row) for row in rows]


async def set_name(tx: Transaction, gateway: Gateway) -> None:
    """Store name and version."""
    await tx.execute(
        update(GATEWAYS)
        .where(GATEWAYS.c.id == gateway.id)
        .values(name=gateway.name, version=gateway.version)
    )


async def set_revoked(tx: Transaction, gateway: Gateway) -> None:
    """Store that it was revoked, by whom."""
    await tx.execute(
        update(GATEWAYS)
        .where(GATEWAYS.c.id == gateway.id)
        .values(
            revoked_at=gateway.revoked_at,
            revoked_by=gateway.revoked_by,
            version=gateway.version,
        )
    )


async def set_report(tx: Transaction, gateway_id: str, report: PollRequest) -> None:
    """Store what a gateway said of itself."""
    await tx.execute(
        update(GATEWAYS)
        .where(GATEWAYS.c.id == gateway_id)
        .values(
            last_seen=tx.now,
            link=report.link,
            software=report.software[:64],
            policy_version=report.in_force.version,
            report=msgspec.json.encode(report),
        )
    )


async def set_witness_key(tx: Transaction, gateway_id: str, key: str) -> None:
    """Store the key that a gateway witnesses with: its first one stays."""
    await tx.execute(
        update(GATEWAYS)
        .where(GATEWAYS.c.id == gateway_id, GATEWAYS.c.witness_key == "")
        .values(witness_key=key)
    )


# --- nonces --------------------------------------------------------------------------------


async def use_nonce(tx: Transaction, gateway_id: str, nonce: str, *, at: int) -> bool:
    """Use a nonce up; false when it was used before."""
    try:
        async with tx.connection.begin_nested():
            await tx.execute(insert(NONCES).values(gateway_id=gateway_id, nonce=nonce, at=at))
    except IntegrityError:
        return False
    return True


async def forget_nonces(tx: Transaction, *, before: int) -> None:
    """Drop those whose time would not be accepted any more."""
    await tx.execute(delete(NONCES).where(NONCES.c.at < before))


class Groups:
    """What other domains ask about gateway groups."""

    async def groups(self, tx: Transaction, organization_id: str) -> Mapping[str, int]:
        """Name of each gateway group -> how many gateways it has that were not revoked."""
        found = await tx.rows(
            select(GATEWAYS.c.gateway_group, func.count().label("gateways"))
            .where(GATEWAYS.c.organization_id == organization_id, GATEWAYS.c.revoked_at.is_(None))
            .group_by(GATEWAYS.c.gateway_group)
        )
        return {str(row["gateway_group"]): int(row["gateways"]) for row in found}

    async def lowest_link(self, tx: Transaction, organization_id: str, group: str) -> int:
        """The lowest link version that a gateway of the group speaks; 1 when it has none."""
        row = await tx.row(
            select(func.min(GATEWAYS.c.link).label("lowest")).where(
                GATEWAYS.c.organization_id == organization_id,
                GATEWAYS.c.gateway_group == group,
                GATEWAYS.c.revoked_at.is_(None),
            )
        )
        return int(row["lowest"] or 1) if row else 1


def cursor_of(gateway: Gateway) -> tuple[str, ...]:
    """The sort key of ``page``."""
    return (gateway.group, gateway.id)


def ids(gateways: Sequence[Gateway]) -> list[str]:
    """Their identifiers."""
    return [gateway.id for gateway in gateways]


def _code(row: Row) -> StoredCode:
    values = dict(row)
    values["group"] = values.pop("gateway_group")
    return StoredCode(**values)


def _gateway(row: Row) -> Gateway:
    values = dict(row)
    values["group"] = values.pop("gateway_group")
    report = values.pop("report")
    return Gateway(**values, report=_decode_report(report) if report else None)
