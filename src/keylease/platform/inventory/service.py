"""Decides what the inventory says, and takes what people and scanners tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import insert, update

from keylease.contracts.audit import AuditAction
from keylease.contracts.findings import ScanReport
from keylease.errors import InputInvalid, ResourceConflict, ResourceNotFound, VersionChanged
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.inventory import repository
from keylease.platform.inventory.changes import Change, ChangeKind, write_change
from keylease.platform.inventory.intake import Intake, Intaken, origin_of
from keylease.platform.inventory.intake_course import Origin
from keylease.platform.inventory.interfaces import PolicyCredentials, RecordedUses
from keylease.platform.inventory.joining import Joining
from keylease.platform.inventory.namesakes import with_secrets
from keylease.platform.inventory.records import Exemption, Place, Sighting, Vendor
from keylease.platform.inventory.repository import HistoryLine, Wanted
from keylease.platform.inventory.states import State
from keylease.platform.inventory.tables import EXCEPTIONS, SECRETS, SOURCES, VENDORS

LONGEST_EXCEPTION: Final = 366 * 24 * 3600 * 1_000_000
"""Microseconds; nothing is accepted for ever."""


class VendorWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a vendor."""

    name: str
    title: str = ""
    connector: str = ""
    given: tuple[str, ...] = ()
    since: int | None = None
    note: str = ""


class InventoryService:
    """The inventory of an organization, as its callers may see it."""

    def __init__(
        self,
        database: Database,
        *,
        credentials: PolicyCredentials,
        uses: RecordedUses,
        when_changed: Callable[[], None] = lambda: None,
    ) -> None:
        """``when_changed`` is called after a commit that wrote history."""
        self._database = database
        self._credentials = credentials
        self._joining = Joining(credentials=credentials, uses=uses)
        self._when_changed = when_changed

    # --- what scanners tell --------------------------------------------------------------

    async def push(
        self,
        caller: Caller,
        report: ScanReport,
        *,
        origin: Origin | None = None,
        more: bool = False,
    ) -> Intaken:
        """Take a report, or with ``more`` a part that others follow: it removes nothing.

        The parts of a scan have the same ``started_at``, that which the first one's answer gives as
        ``seen_at``. Raises ``SecretInRequest`` when it contains a secret.
        """
        if report.finished_at < report.started_at:
            raise InputInvalid("The scan ends before it begins.")
        async with self._database.transaction(caller) as tx:
            # A scanner's clock may be wrong: nothing was seen in the future.
            seen_at = min(report.started_at, tx.now)
            tx.after_commit(self._when_changed)
            intake = Intake(tx, origin or origin_of(report), seen_at=seen_at)
            return await intake.take(report, covers_all=report.complete and not more)

    async def push_listing(
        self, caller: Caller, report: ScanReport, *, connector: str, vendor: str, more: bool = False
    ) -> Intaken:
        """Take what a connector listed. A vendor that is not known yet becomes known by it."""
        vendor_id = ""
        if vendor:
            async with self._database.reading(caller) as tx:
                found = await repository.vendors(tx, name=vendor)
            if not found:
                wish = VendorWish(name=vendor, connector=connector, given=("keys",))
                found = (await self.create_vendor(caller, wish),)
            vendor_id = found[0].id
        origin = Origin(kind="connector", name=connector, vendor_id=vendor_id)
        return await self.push(caller, report, origin=origin, more=more)

    async def retire_source(self, caller: Caller, source_id: str) -> None:
        """Take a source out of the view: its scanner lied, or is gone. History stays."""
        async with self._database.transaction(caller) as tx:
            known = {row["id"] for row in await repository.sources(tx)}
            if source_id not in known:
                raise ResourceNotFound("There is no such source.")
            await tx.execute(
                update(SOURCES).where(SOURCES.c.id == source_id).values(retired_at=tx.now)
            )
            await tx.record(AuditAction.INVENTORY_SOURCE_RETIRED, source_id)

    # --- what readers see ----------------------------------------------------------------

    async def page(self, caller: Caller, wanted: Wanted, request: PageRequest) -> Page[Sighting]:
        """Secrets, newest first."""
        async with self._database.reading(caller) as tx:
            rows = page_of(
                await self._rows(tx, wanted, request),
                request,
                key=lambda row: (str(row["id"]),),
            )
            seen = await self._joining.sightings(tx, rows.items)
        return Page(items=seen, next_cursor=rows.next_cursor)

    async def all(self, caller: Caller, wanted: Wanted) -> tuple[Sighting, ...]:
        """Secrets by falling risk, for exports and previews."""
        async with self._database.reading(caller) as tx:
            seen = await self._joining.sightings(tx, await self._rows(tx, wanted))
        return tuple(sorted(seen, key=lambda one: (-one.risk, one.first_seen, one.id)))

    async def _rows(
        self, tx: Transaction, wanted: Wanted, page: PageRequest | None = None
    ) -> Sequence[Row]:
        if not wanted.consumer:
            return await repository.secrets(tx, wanted, page)
        # A query knows no consumers: calls, places and names are joined first.
        rows = await repository.secrets(tx, wanted)
        used = await self._joining.used_by(tx, rows, wanted.consumer)
        after = page.after() if page is not None else None
        left = [
            row for row in rows if row["id"] in used and (after is None or row["id"] < after[0])
        ]
        return left if page is None else left[: page.limit + 1]

    async def one(self, caller: Caller, secret_id: str) -> Sighting:
        """One secret. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            (seen,) = await self._joining.sightings(tx, [await _known(tx, secret_id)])
        return seen

    async def history(
        self, caller: Caller, request: PageRequest, *, secret_id: str = ""
    ) -> Page[HistoryLine]:
        """What changed, newest first."""
        async with self._database.reading(caller) as tx:
            lines = await repository.history(tx, secret_id=secret_id, page=request)
        return page_of(lines, request, key=lambda line: (line.id,))

    async def mentions(
        self, caller: Caller, request: PageRequest, *, provider: str = "", vendor_id: str = ""
    ) -> Page[Place]:
        """Places where a secret's name stands, without its value."""
        async with self._database.reading(caller) as tx:
            rows = await repository.mentions(
                tx, provider=provider, vendor_id=vendor_id, page=request
            )
            places = await with_secrets(tx, [repository.place_of(row) for row in rows])
        return page_of(places, request, key=lambda place: (place.id,))

    async def sources(self, caller: Caller) -> Sequence[Row]:
        """Where reports come from."""
        async with self._database.reading(caller) as tx:
            return await repository.sources(tx)

    async def exported(self, caller: Caller, form: str, count: int) -> None:
        """Write down that the whole inventory was taken out."""
        async with self._database.transaction(caller) as tx:
            await tx.record(AuditAction.INVENTORY_EXPORTED, form, details={"secrets": str(count)})

    # --- what people say -----------------------------------------------------------------

    async def describe(
        self,
        caller: Caller,
        secret_id: str,
        *,
        expected: int,
        owner: str | None = None,
        credential_id: str | None = None,
    ) -> Sighting:
        """Name the owner, or the credential that the secret is; an empty text takes it back."""
        if credential_id:
            facts = await self._credentials.credential_facts(caller)
            if credential_id not in facts:
                raise InputInvalid("There is no such credential in the policy.")
        async with self._database.transaction(caller) as tx:
            row = await _known(tx, secret_id)
            if row["version"] != expected:
                raise VersionChanged(
                    f"It is at version {row['version']} now; the request changes {expected}.",
                    advice="Read it again and repeat the change.",
                )
            values: dict[str, object] = {"version": row["version"] + 1}
            if owner is not None:
                values |= {"owner": owner, "owner_confirmed": bool(owner)}
                await self._told(tx, ChangeKind.OWNER_SET, secret_id)
            if credential_id is not None:
                values["credential_id"] = credential_id or None
                await self._told(
                    tx, ChangeKind.CREDENTIAL_SET, secret_id, credential_id=credential_id
                )
            await tx.execute(update(SECRETS).where(SECRETS.c.id == secret_id).values(**values))
            (seen,) = await self._joining.sightings(tx, [await _known(tx, secret_id)])
        return seen

    async def report_liveness(
        self, caller: Caller, secret_id: str, *, live: bool, belongs_to: str = ""
    ) -> None:
        """Keep what the provider answered when it was asked whether the key works."""
        async with self._database.transaction(caller) as tx:
            await _known(tx, secret_id)
            await tx.execute(
                update(SECRETS)
                .where(SECRETS.c.id == secret_id)
                .values(
                    liveness="live" if live else "dead",
                    liveness_at=tx.now,
                    belongs_to=belongs_to,
                    version=SECRETS.c.version + 1,
                )
            )
            await self._told(
                tx, ChangeKind.FOUND_LIVE if live else ChangeKind.FOUND_DEAD, secret_id
            )

    async def accept(
        self,
        caller: Caller,
        secret_id: str,
        *,
        state: State,
        reason: str,
        owner: str,
        ends_at: int,
    ) -> Exemption:
        """Accept a state until a day. Raises ``InputInvalid`` without an owner or an end."""
        async with self._database.transaction(caller) as tx:
            if before := await tx.created_before("inventory_exception"):
                made = await repository.exceptions_of(tx, [secret_id])
                return next(one for one in made[secret_id] if one.id == before)
            await _known(tx, secret_id)
            if not owner or not reason:
                raise InputInvalid("An exception needs an owner and a reason.")
            if not tx.now < ends_at <= tx.now + LONGEST_EXCEPTION:
                raise InputInvalid("An exception ends in the future, within a year.")
            exception_id = tx.new_id()
            await tx.execute(
                insert(EXCEPTIONS).values(
                    id=exception_id,
                    organization_id=caller.organization_id,
                    secret_id=secret_id,
                    state=state,
                    reason=reason,
                    owner=owner,
                    made_by=caller.name,
                    made_at=tx.now,
                    ends_at=ends_at,
                    version=1,
                )
            )
            await tx.created("inventory_exception", exception_id)
            await tx.record(
                AuditAction.INVENTORY_EXCEPTION_MADE, secret_id, details={"state": state}
            )
            tx.after_commit(self._when_changed)
            await write_change(
                tx, Change(what=ChangeKind.ACCEPTED, secret_id=secret_id, details={"state": state})
            )
            made = await repository.exceptions_of(tx, [secret_id])
        return next(one for one in made[secret_id] if one.id == exception_id)

    async def withdraw(self, caller: Caller, secret_id: str, exception_id: str) -> None:
        """End an exception before its day."""
        async with self._database.transaction(caller) as tx:
            await _known(tx, secret_id)
            made = (await repository.exceptions_of(tx, [secret_id])).get(secret_id, ())
            if exception_id not in {one.id for one in made}:
                raise ResourceNotFound("There is no such exception.")
            await tx.execute(
                update(EXCEPTIONS)
                .where(EXCEPTIONS.c.id == exception_id, EXCEPTIONS.c.withdrawn_at.is_(None))
                .values(withdrawn_at=tx.now, version=EXCEPTIONS.c.version + 1)
            )
            await tx.record(AuditAction.INVENTORY_EXCEPTION_WITHDRAWN, secret_id)
            tx.after_commit(self._when_changed)
            await write_change(tx, Change(what=ChangeKind.EXCEPTION_WITHDRAWN, secret_id=secret_id))

    async def _told(
        self, tx: Transaction, what: ChangeKind, secret_id: str, **details: str
    ) -> None:
        tx.after_commit(self._when_changed)
        await tx.record(AuditAction.INVENTORY_SECRET_CHANGED, secret_id, reason=what)
        await write_change(tx, Change(what=what, secret_id=secret_id, details=details))

    # --- vendors -------------------------------------------------------------------------

    async def vendors(self, caller: Caller) -> tuple[Vendor, ...]:
        """Every vendor, by name."""
        async with self._database.reading(caller) as tx:
            return await repository.vendors(tx)

    async def vendor(self, caller: Caller, name: str) -> Vendor:
        """One of them. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            found = await repository.vendors(tx, name=name)
        if not found:
            raise ResourceNotFound("There is no such vendor.")
        return found[0]

    async def create_vendor(self, caller: Caller, wish: VendorWish) -> Vendor:
        """Say that an outside tool was given something."""
        async with self._database.transaction(caller) as tx:
            if before := await tx.created_before("vendor"):
                return (await repository.vendors(tx, vendor_id=before))[0]
            if await repository.vendors(tx, name=wish.name):
                raise ResourceConflict(f"There is a vendor {wish.name} already.")
            vendor_id = tx.new_id()
            await tx.execute(
                insert(VENDORS).values(
                    id=vendor_id,
                    organization_id=caller.organization_id,
                    name=wish.name,
                    attested_at=tx.now,
                    attested_by=caller.name,
                    version=1,
                    **_told_of_vendor(wish),
                )
            )
            await tx.created("vendor", vendor_id)
            await tx.record(AuditAction.VENDOR_CREATED, vendor_id)
            return (await repository.vendors(tx, vendor_id=vendor_id))[0]

    async def change_vendor(
        self, caller: Caller, name: str, wish: VendorWish, *, expected: int, archive: bool = False
    ) -> Vendor:
        """Say anew what a vendor was given; who says it attests it."""
        async with self._database.transaction(caller) as tx:
            found = await repository.vendors(tx, name=name)
            if not found:
                raise ResourceNotFound("There is no such vendor.")
            if found[0].version != expected:
                raise VersionChanged(
                    f"It is at version {found[0].version} now; the request changes {expected}.",
                    advice="Read it again and repeat the change.",
                )
            await tx.execute(
                update(VENDORS)
                .where(VENDORS.c.id == found[0].id)
                .values(
                    attested_at=tx.now,
                    attested_by=caller.name,
                    archived_at=tx.now if archive else None,
                    version=expected + 1,
                    **_told_of_vendor(wish),
                )
            )
            action = AuditAction.VENDOR_ARCHIVED if archive else AuditAction.VENDOR_CHANGED
            await tx.record(action, found[0].id)
            return (await repository.vendors(tx, vendor_id=found[0].id))[0]


def _told_of_vendor(wish: VendorWish) -> dict[str, object]:
    return {
        "title": wish.title or wish.name,
        "connector": wish.connector,
        "given": msgspec.json.encode(wish.given),
        "since": wish.since,
        "note": wish.note,
    }


async def _known(tx: Transaction, secret_id: str) -> Row:
    row = await repository.secret(tx, secret_id)
    if row is None:
        raise ResourceNotFound("There is no such secret in the inventory.")
    return row
