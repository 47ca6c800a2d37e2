"""A transaction: who acts, when, what it changes, and the audit entries that commit with it.

Protects: a change and its audit entry are one commit. If the entry cannot be written, the change
    does not happen; if the change is rolled back, there is no entry of it.
Does not protect: what a caller does outside the database before the commit. Do such things in
    ``after_commit``, or make them harmless when repeated.
Limits: an entry is refused when a text in it looks like a secret; the change then fails with it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import CursorResult, Executable, RowMapping, Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from keylease import detectors
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.errors import ResourceConflict, SecretMisused
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.tables import IDEMPOTENT_CREATES, OUTBOX
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
Row: TypeAlias = RowMapping
"""A row as the database gave it: column name to value."""


class Transaction:
    """One unit of work. Made by ``Database.transaction``; ends with its ``async with`` block."""

    def __init__(
        self,
        connection: AsyncConnection,
        caller: Caller,
        clock: Clock,
        *,
        before_recording: Callable[[str], None] | None = None,
        only_reads: bool = False,
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.now = clock.now()
        """One time for everything the transaction does; microseconds UTC."""
        self._clock = clock
        self._before_recording = before_recording
        self._only_reads = only_reads
        self._after_commit: list[Callable[[], None]] = []

    def within(self, organization_id: str) -> Transaction:
        """The same unit of work, done by the platform itself in an organization.

        For what begins before it is known whose it is: a sign-in, an invitation, the first start.
        """
        same = copy.copy(self)  # one connection, one time, one list of callbacks
        same.caller = msgspec.structs.replace(
            platform_itself(organization_id),
            request_id=self.caller.request_id,
            address=self.caller.address,
        )
        return same

    def new_id(self) -> str:
        """An identifier for something this transaction makes."""
        return uuid7(self._clock)

    async def execute(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        """Run a statement; a list of parameter sets runs it for each."""
        return await self.connection.execute(statement, parameters)

    def locked(self, query: Select[Any]) -> Select[Any]:
        """The query, by which its rows are locked until the end; one that only reads locks none."""
        return query if self._only_reads else query.with_for_update()

    async def rows(self, statement: Executable) -> Sequence[Row]:
        """All rows of a query."""
        return (await self.execute(statement)).mappings().all()

    async def row(self, statement: Executable) -> Row | None:
        """The only row of a query, or ``None``."""
        return (await self.execute(statement)).mappings().one_or_none()

    async def record(
        self,
        action: AuditAction,
        subject: str,
        *,
        organization_id: str = "",
        reason: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Write the audit entry of what is done here; ``subject`` is what it was done to.

        Opaque identifiers only: no name, no address, no secret. Raises ``SecretMisused`` when a
        text looks like a secret, and ``AuditLogUnavailable`` when the log cannot be written.
        """
        if self._before_recording is not None:
            self._before_recording(organization_id or self.caller.organization_id)
        entry = AuditEntry(
            id=self.new_id(),
            sequence=0,  # the log gives it its place
            at=self.now,
            organization_id=organization_id or self.caller.organization_id,
            action=action,
            principal=self.caller.name,
            object=subject,
            reason=reason,
            details=dict(details or {}),
        )
        if any(map(detectors.looks_like_secret, (subject, reason, *entry.details.values()))):
            raise SecretMisused(f"An audit entry {action} would contain what looks like a key.")
        await self.execute(
            insert(OUTBOX).values(
                organization_id=entry.organization_id, at=self.now, entry=_encode(entry)
            )
        )

    async def created_before(self, kind: str) -> str | None:
        """The object that this create made when it was sent before with the same key, if it was.

        Raises ``ResourceConflict`` when the key was used for another request.
        """
        sent = self.caller.idempotency
        if sent is None:
            return None
        table = IDEMPOTENT_CREATES
        before = await self.row(
            select(table.c.request_digest, table.c.kind, table.c.object_id).where(
                table.c.organization_id == self.caller.organization_id,
                table.c.principal == self.caller.name,
                table.c.key == sent.key,
            )
        )
        if before is None:
            return None
        if before["request_digest"] != sent.request_digest or before["kind"] != kind:
            raise ResourceConflict(
                "This Idempotency-Key was used for another request.",
                advice="Use a new key for a new request.",
            )
        return str(before["object_id"])

    async def created(self, kind: str, object_id: str) -> None:
        """Remember what this create made, for when it is sent again."""
        if (sent := self.caller.idempotency) is not None:
            await self.execute(
                insert(IDEMPOTENT_CREATES).values(
                    organization_id=self.caller.organization_id,
                    principal=self.caller.name,
                    key=sent.key,
                    request_digest=sent.request_digest,
                    kind=kind,
                    object_id=object_id,
                    at=self.now,
                )
            )

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the change is durable: wake who waits for it. Must not raise."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """For ``Database`` only: the commit has happened."""
        for callback in self._after_commit:
            callback()
