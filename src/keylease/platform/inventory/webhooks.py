"""Webhooks as resources: who is told, of what, and how that went."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from socket import inet_aton, inet_ntoa
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import delete, func, insert, select, update

from keylease.contracts.audit import AuditAction
from keylease.errors import EgressRefused, InputInvalid, ResourceConflict, ResourceNotFound
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.db.versions import check_version
from keylease.platform.inventory.changes import ChangeKind
from keylease.platform.inventory.tables import WEBHOOK_DELIVERIES, WEBHOOK_QUEUE, WEBHOOKS
from keylease.platform.inventory.webhook_keys import WebhookKeys
from keylease.platform.inventory.webhook_records import (
    MAXIMUM_WEBHOOKS,
    Delivery,
    Webhook,
    WebhookWish,
)
from keylease.primitives.egress.addresses import check_address

KEPT_DELIVERIES: Final = 100
"""Attempts of one webhook that are remembered."""
_KIND: Final = "inventory_webhook"
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_LOCAL: Final = ".localhost"
"""Names that end so mean this machine wherever they are asked (RFC 6761 section 6.3)."""
_OF_THIS_MACHINE: Final = "The host is this machine by another name."
_ALLOWED_BY: Final = (
    "Whoever runs the server can allow a private host (`keylease config show` has private_hosts);"
    " metadata services are never reached."
)


class WebhookService:
    """The webhooks of an organization."""

    def __init__(
        self, database: Database, *, keys: WebhookKeys, private_hosts: frozenset[str]
    ) -> None:
        """``private_hosts`` may have private addresses, and be reached by plain http."""
        self._database = database
        self._keys = keys
        self._private_hosts = private_hosts

    async def all(self, caller: Caller) -> tuple[Webhook, ...]:
        """Every webhook, oldest first."""
        async with self._database.reading(caller) as tx:
            return tuple([await self._shown(tx, row) for row in await _rows(tx)])

    async def one(self, caller: Caller, webhook_id: str) -> Webhook:
        """One of them. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await self._shown(tx, await _known(tx, webhook_id))

    async def create(self, caller: Caller, wish: WebhookWish) -> Webhook:
        """Add one. Raises ``InputInvalid`` for an address that is never reached."""
        self._check(wish)
        async with self._database.transaction(caller) as tx:
            if before := await tx.created_before(_KIND):
                return await self._shown(tx, await _known(tx, before))
            if len(await _rows(tx)) >= MAXIMUM_WEBHOOKS:
                raise ResourceConflict(f"An organization has at most {MAXIMUM_WEBHOOKS} webhooks.")
            webhook_id = tx.new_id()
            await tx.execute(
                insert(WEBHOOKS).values(
                    id=webhook_id,
                    organization_id=caller.organization_id,
                    url=wish.url,
                    events=_events_text(wish.events),
                    made_by=caller.name,
                    made_at=tx.now,
                    failures=0,
                    next_at=0,
                    claimed_until=0,
                    disabled_reason="",
                    disabled_at=None if wish.enabled else tx.now,
                    version=1,
                )
            )
            await tx.created(_KIND, webhook_id)
            await tx.record(AuditAction.INVENTORY_WEBHOOK_CREATED, webhook_id)
            return await self._shown(tx, await _known(tx, webhook_id))

    async def change(
        self, caller: Caller, webhook_id: str, wish: WebhookWish, *, expected: int
    ) -> Webhook:
        """Say anew where and what; enabling it forgets its failures."""
        self._check(wish)
        async with self._database.transaction(caller) as tx:
            row = await _known(tx, webhook_id)
            check_version(current=row["version"], expected=expected)
            disabled_at = None if wish.enabled else row["disabled_at"] or tx.now
            await tx.execute(
                update(WEBHOOKS)
                .where(WEBHOOKS.c.id == webhook_id)
                .values(
                    url=wish.url,
                    events=_events_text(wish.events),
                    failures=0,
                    next_at=0,
                    disabled_at=disabled_at,
                    disabled_reason="" if wish.enabled else row["disabled_reason"] or "by a person",
                    version=expected + 1,
                )
            )
            if not wish.enabled:
                await tx.execute(
                    delete(WEBHOOK_QUEUE).where(WEBHOOK_QUEUE.c.webhook_id == webhook_id)
                )
            await tx.record(AuditAction.INVENTORY_WEBHOOK_CHANGED, webhook_id)
            return await self._shown(tx, await _known(tx, webhook_id))

    async def remove(self, caller: Caller, webhook_id: str, *, expected: int) -> None:
        """Remove one, with what waits for it."""
        async with self._database.transaction(caller) as tx:
            row = await _known(tx, webhook_id)
            check_version(current=row["version"], expected=expected)
            await tx.execute(delete(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id))
            await tx.record(AuditAction.INVENTORY_WEBHOOK_REMOVED, webhook_id)

    async def deliveries(self, caller: Caller, webhook_id: str) -> tuple[Delivery, ...]:
        """The last attempts, newest first."""
        table = WEBHOOK_DELIVERIES
        async with self._database.reading(caller) as tx:
            await _known(tx, webhook_id)
            rows = await tx.rows(
                select(table)
                .where(table.c.webhook_id == webhook_id)
                .order_by(table.c.id.desc())
                .limit(KEPT_DELIVERIES)
            )
        return tuple(
            Delivery(
                id=row["id"],
                message_id=row["message_id"],
                at=row["at"],
                changes=row["changes"],
                delivered=row["delivered"],
                status=row["status"],
                problem=row["problem"],
            )
            for row in rows
        )

    def _check(self, wish: WebhookWish) -> None:
        unknown = set(wish.events) - {kind.value for kind in ChangeKind}
        if unknown:
            raise InputInvalid(
                "There is no such kind of change.",
                advice=f"Known are: {', '.join(kind.value for kind in ChangeKind)}.",
            )
        check_url(wish.url, private=self._private_hosts.__contains__)

    async def _shown(self, tx: Transaction, row: Row) -> Webhook:
        waiting = await tx.row(
            select(func.count().label("n"))
            .select_from(WEBHOOK_QUEUE)
            .where(WEBHOOK_QUEUE.c.webhook_id == row["id"])
        )
        return Webhook(
            id=row["id"],
            url=row["url"],
            events=tuple(row["events"].split()),
            enabled=row["disabled_at"] is None,
            disabled_at=row["disabled_at"],
            disabled_reason=row["disabled_reason"],
            failures=row["failures"],
            waiting=waiting["n"] if waiting else 0,
            next_at=row["next_at"],
            public_key=self._keys.public_text(row["organization_id"]),
            made_by=row["made_by"],
            made_at=row["made_at"],
            version=row["version"],
        )


def check_url(url: str, *, private: Callable[[str], bool]) -> None:
    """Raise ``InputInvalid`` for what is never sent to.

    A name is resolved and checked when a message is sent, every time anew.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InputInvalid("That is no URL.") from None
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InputInvalid("The URL contains characters that must be escaped.")
    if parts.scheme != "https" and not (parts.scheme == "http" and private(host)):
        raise InputInvalid("A webhook is reached by https.")
    if not host or parts.username is not None or parts.password is not None:
        raise InputInvalid("The URL names no host, or carries a password.")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise InputInvalid(
            "The URL has a query or a fragment.",
            advice="A secret does not belong there: messages are signed, so none is needed.",
        )
    _check_host(host, is_private_allowed=private(host))


def _check_host(host: str, *, is_private_allowed: bool) -> None:
    """Raise ``InputInvalid`` for an address that is never reached, however it is written."""
    address = _address_in(host)
    if address is None:
        if not _NAME.fullmatch(host):
            raise InputInvalid("The URL's host is no name and no address.")
        if not is_private_allowed and f".{host}".rstrip(".").endswith(_LOCAL):
            raise InputInvalid(_OF_THIS_MACHINE, advice=_ALLOWED_BY)
        return
    try:
        check_address(address, allow_private=is_private_allowed)
    except EgressRefused as refusal:
        raise InputInvalid(refusal.message, advice=_ALLOWED_BY) from refusal


def _address_in(host: str) -> str | None:
    """The address that a host is, also where it is written as ``127.1`` or ``0x7f000001``."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return inet_ntoa(inet_aton(host.rstrip(".")))
    except OSError:
        return None


def _events_text(events: tuple[str, ...]) -> str:
    return f" {' '.join(sorted(set(events)))} " if events else ""


async def _rows(tx: Transaction) -> list[Row]:
    return list(
        await tx.rows(
            select(WEBHOOKS)
            .where(WEBHOOKS.c.organization_id == tx.caller.organization_id)
            .order_by(WEBHOOKS.c.id)
        )
    )


async def _known(tx: Transaction, webhook_id: str) -> Row:
    row = await tx.row(
        select(WEBHOOKS).where(
            WEBHOOKS.c.organization_id == tx.caller.organization_id, WEBHOOKS.c.id == webhook_id
        )
    )
    if row is None:
        raise ResourceNotFound("There is no such webhook.")
    return row
