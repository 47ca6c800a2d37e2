"""Delivers changes to webhooks: after the commit, in the background, signed, at least once.

Protects: a message goes to the address that was checked (``primitives.egress``), follows no
    redirect, and holds identifiers, masked forms and states only. Nothing of an answer is kept but
    its status. One slow receiver holds up no other.
Does not protect: a receiver that takes a change twice; every change has an identifier.
Limits: who fails ``MAXIMUM_FAILURES`` times in a row, over about five hours, is disabled and what
    waits for it is forgotten; the inventory's history still has it.

Several servers may deliver: each claims a webhook for a minute before it sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec
import structlog
from sqlalchemy import Select, delete, insert, select, update

from keylease.contracts.audit import AuditAction
from keylease.errors import DatabaseUnavailable, EgressRefused
from keylease.platform.db.callers import platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.inventory.tables import (
    CHANGES,
    SECRETS,
    WEBHOOK_DELIVERIES,
    WEBHOOK_QUEUE,
    WEBHOOKS,
)
from keylease.platform.inventory.webhook_keys import WebhookKeys
from keylease.platform.inventory.webhook_records import Message, ToldChange
from keylease.platform.inventory.webhooks import KEPT_DELIVERIES
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.egress.addresses import Resolver, resolve
from keylease.primitives.egress.client import guarded_client
from keylease.primitives.tasks import TaskOwner

MAXIMUM_FAILURES: Final = 12
FIRST_WAIT: Final = 30
"""Seconds after the first failure; doubled after each further one."""
LONGEST_WAIT: Final = 3600
LONGEST_ASKED_WAIT: Final = 24 * 3600
"""Seconds for which a receiver may ask to be left alone."""
_CHANGES_IN_A_MESSAGE: Final = 100
_AT_ONCE: Final = 20
_CLAIM: Final = 60 * MICROSECONDS
_SEND_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 15.0
_GONE: Final = 410
_LONGEST_FIELD: Final = 64
_log: Final = structlog.stdlib.get_logger
_details: Final = msgspec.json.Decoder(dict[str, str]).decode


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    status: int = 0
    problem: str = ""
    asked_wait: int = 0
    """Seconds, as the receiver's Retry-After says."""

    @property
    def delivered(self) -> bool:
        return not self.problem


class WebhookSender:
    """Sends what waits. One for a server."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        keys: WebhookKeys,
        private_hosts: frozenset[str],
        resolver: Resolver = resolve,
    ) -> None:
        """``private_hosts`` may have private addresses, and be reached by plain http."""
        self._database = database
        self._clock = clock
        self._keys = keys
        self._private_hosts = private_hosts
        self._resolver = resolver
        self._waiting = asyncio.Event()

    def wake(self) -> None:
        """Something may have to be sent."""
        self._waiting.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send in the background until the block ends."""
        owner = TaskOwner(lambda error: _log().error("webhooks", error=type(error).__name__))
        owner.start(self._work(), name="webhooks")
        try:
            yield
        finally:
            await owner.close()

    async def _work(self) -> None:
        while True:
            self._waiting.clear()
            try:
                while await self.deliver_due():
                    pass
            except DatabaseUnavailable as error:
                _log().warning("webhooks_wait", reason=error.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._waiting.wait()

    async def deliver_due(self) -> int:
        """One message to each webhook whose turn it is; gives how many were tried."""
        due = await self._claimed()
        if not due:
            return 0  # a client would read every certificate authority, each time for nothing
        async with self._client() as client, asyncio.TaskGroup() as group:
            for webhook in due:
                group.create_task(self._deliver(client, webhook), name="webhook")
        return len(due)

    def _client(self) -> httpx.AsyncClient:
        return guarded_client(
            allow_private=self._private_hosts.__contains__,
            timeout=_SEND_SECONDS,
            resolver=self._resolver,
        )

    async def _claimed(self) -> Sequence[Row]:
        table = WEBHOOKS
        async with self._database.reading() as tx:
            due = await tx.rows(_due(tx.now))
        if not due:
            return ()
        claimed = []
        async with self._database.transaction() as tx:
            for row in due:
                taken = await tx.execute(
                    update(table)
                    .where(
                        table.c.id == row["id"],
                        table.c.disabled_at.is_(None),
                        table.c.claimed_until == row["claimed_until"],
                    )
                    .values(claimed_until=tx.now + _CLAIM)
                )
                if taken.rowcount:
                    claimed.append(row)
        return claimed

    async def _deliver(self, client: httpx.AsyncClient, webhook: Row) -> None:
        organization_id = str(webhook["organization_id"])
        async with self._database.reading(platform_itself(organization_id)) as tx:
            changes = [_told(row) for row in await tx.rows(_batch(webhook["id"]))]
        if not changes:
            return
        message_id = _message_id(webhook["id"], changes)
        body = msgspec.json.encode(
            Message(
                organization_id=organization_id,
                webhook_id=webhook["id"],
                changes=tuple(changes),
            )
        )
        headers = self._keys.signed_headers(
            organization_id, message_id=message_id, at=self._clock.now(), body=body
        )
        outcome = await _sent(
            client, webhook["url"], headers=headers, body=body, now=self._clock.now()
        )
        async with self._database.transaction(platform_itself(organization_id)) as tx:
            await _remember(tx, webhook, message_id, changes, outcome)


def _due(now: int) -> Select[Any]:
    table = WEBHOOKS
    waits = select(WEBHOOK_QUEUE.c.change_id).where(WEBHOOK_QUEUE.c.webhook_id == table.c.id)
    return (
        select(table)
        .where(
            table.c.disabled_at.is_(None),
            table.c.next_at <= now,
            table.c.claimed_until <= now,
            waits.exists(),
        )
        .order_by(table.c.next_at, table.c.id)
        .limit(_AT_ONCE)
    )


def _batch(webhook_id: str) -> Select[Any]:
    return (
        select(CHANGES, SECRETS.c.provider, SECRETS.c.masked)
        .join(WEBHOOK_QUEUE, WEBHOOK_QUEUE.c.change_id == CHANGES.c.id)
        .outerjoin(SECRETS, SECRETS.c.id == CHANGES.c.secret_id)
        .where(WEBHOOK_QUEUE.c.webhook_id == webhook_id)
        .order_by(CHANGES.c.id)
        .limit(_CHANGES_IN_A_MESSAGE)
    )


def _told(row: Row) -> ToldChange:
    # Not the details themselves: they name paths.
    return ToldChange(
        id=row["id"],
        at=row["at"],
        what=row["what"],
        by=row["by"],
        secret_id=row["secret_id"] or "",
        provider=row["provider"] or "",
        masked=row["masked"] or "",
        state=_details(row["details"]).get("state", ""),
    )


def _message_id(webhook_id: str, changes: Sequence[ToldChange]) -> str:
    """The same for the same content, so that a repetition can be told from a new message."""
    told = "".join((webhook_id, *(change.id for change in changes)))
    return f"msg_{hashlib.sha256(told.encode()).hexdigest()[:32]}"


async def _sent(
    client: httpx.AsyncClient, url: str, *, headers: dict[str, str], body: bytes, now: int
) -> _Outcome:
    try:
        async with client.stream(
            "POST", url, content=body, headers={**headers, "Content-Type": "application/json"}
        ) as answer:
            status, asked = answer.status_code, answer.headers.get("retry-after", "")
    except EgressRefused as error:
        return _Outcome(problem=error.message)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _Outcome(problem=f"It cannot be reached: {type(error).__name__}.")
    if httpx.codes.is_success(status):
        return _Outcome(status=status)
    return _Outcome(
        status=status,
        problem=f"It answers with status {status}.",
        asked_wait=_seconds(asked, now=now),
    )


def _seconds(text: str, *, now: int) -> int:
    """What a Retry-After field asks for (RFC 9110 section 10.2.3): seconds, or a date."""
    if len(text) > _LONGEST_FIELD:
        return 0
    if text.isascii() and text.isdigit():
        seconds = int(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return 0
        seconds = round(moment.timestamp() - now / MICROSECONDS) if moment.tzinfo else 0
    return min(max(seconds, 0), LONGEST_ASKED_WAIT)


async def _remember(
    tx: Transaction,
    webhook: Row,
    message_id: str,
    changes: Sequence[ToldChange],
    outcome: _Outcome,
) -> None:
    webhook_id = webhook["id"]
    now_there = await tx.row(select(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id))
    if now_there is None:
        return  # removed meanwhile
    await tx.execute(
        insert(WEBHOOK_DELIVERIES).values(
            id=tx.new_id(),
            organization_id=webhook["organization_id"],
            webhook_id=webhook_id,
            message_id=message_id,
            at=tx.now,
            changes=len(changes),
            delivered=outcome.delivered,
            status=outcome.status,
            problem=outcome.problem[:300],
        )
    )
    await _forget_old(tx, webhook_id)
    if outcome.delivered:
        sent = [change.id for change in changes]
        await tx.execute(
            delete(WEBHOOK_QUEUE).where(
                WEBHOOK_QUEUE.c.webhook_id == webhook_id, WEBHOOK_QUEUE.c.change_id.in_(sent)
            )
        )
        await _set(tx, webhook_id, failures=0, next_at=0)
        return
    failures = now_there["failures"] + 1
    wait = max(min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT), outcome.asked_wait)
    await _set(tx, webhook_id, failures=failures, next_at=tx.now + wait * MICROSECONDS)
    if failures >= MAXIMUM_FAILURES or outcome.status == _GONE:
        await _disable(tx, webhook_id, failures, outcome)


async def _disable(tx: Transaction, webhook_id: str, failures: int, outcome: _Outcome) -> None:
    reason = f"{outcome.problem} {failures} failures in a row."[:300]
    await _set(tx, webhook_id, disabled_at=tx.now, disabled_reason=reason)
    await tx.execute(
        update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id).values(version=WEBHOOKS.c.version + 1)
    )
    await tx.execute(delete(WEBHOOK_QUEUE).where(WEBHOOK_QUEUE.c.webhook_id == webhook_id))
    await tx.record(
        AuditAction.INVENTORY_WEBHOOK_DISABLED, webhook_id, details={"failures": str(failures)}
    )
    _log().warning("webhook_disabled", webhook=webhook_id, failures=failures)


async def _set(tx: Transaction, webhook_id: str, **values: object) -> None:
    await tx.execute(
        update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id).values(claimed_until=0, **values)
    )


async def _forget_old(tx: Transaction, webhook_id: str) -> None:
    table = WEBHOOK_DELIVERIES
    kept = (
        select(table.c.id)
        .where(table.c.webhook_id == webhook_id)
        .order_by(table.c.id.desc())
        .limit(KEPT_DELIVERIES)
    )
    await tx.execute(delete(table).where(table.c.webhook_id == webhook_id, table.c.id.not_in(kept)))
