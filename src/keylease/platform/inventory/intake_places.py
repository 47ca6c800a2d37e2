"""Where secrets and their names are: first and last seen, gone, and back."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update

from keylease.contracts.findings import Location, Mention
from keylease.platform.inventory.changes import ChangeKind
from keylease.platform.inventory.intake_course import Course
from keylease.platform.inventory.linking import reach_of
from keylease.platform.inventory.names import called
from keylease.platform.inventory.namesakes import object_of
from keylease.platform.inventory.tables import LOCATIONS, NAMES, SECRETS


class PlaceIntake:
    """Writes the places of one report."""

    def __init__(self, course: Course) -> None:
        self._course = course

    async def take(
        self,
        source_id: str,
        location: Location,
        secret_id: str | None,
        provider: str,
        *,
        reason: str = "",
        refers_to: str = "",
    ) -> None:
        """Write that something lies there, and by which name it can be linked."""
        table, tx = LOCATIONS, self._course.tx
        name = {
            "called": called(location.name),
            "reach": reach_of(location, source_id).stored,
            "object": object_of(location, refers_to=refers_to)[:300],
            "refers_to": refers_to[:300],
            "reason": reason[:300],
        }
        same_secret = (
            table.c.secret_id.is_(None) if secret_id is None else table.c.secret_id == secret_id
        )
        known = await tx.row(
            select(
                table.c.id,
                table.c.first_seen,
                table.c.last_seen,
                table.c.removed_at,
                *(NAMES.c[column] for column in name),
            )
            .outerjoin(NAMES, NAMES.c.location_id == table.c.id)
            .where(
                table.c.organization_id == self._course.organization,
                table.c.source_id == source_id,
                table.c.place == location.id,
                same_secret,
            )
            .order_by(table.c.first_seen)
            .limit(1)
        )
        values = {
            "kind": location.kind.value,
            "path": location.path[:1000],
            "name": location.name[:300],
            "provider": provider,
            "repository": location.repository[:500],
            "environment": location.environment[:100],
            "in_history_only": location.in_history_only,
            "location": msgspec.json.encode(location),
            "pushed_by": tx.caller.name,
        }
        # A newer complete scan would have met it, had it still been there.
        gone = None if location.in_history_only else self._course.overtaken_at
        if known is not None:
            self._course.again += 1
            newer = self._course.seen_at >= known["last_seen"]
            back = newer and (known["removed_at"] or 0) <= self._course.seen_at
            await tx.execute(
                update(table)
                .where(table.c.id == known["id"])
                .values(
                    first_seen=min(self._course.seen_at, known["first_seen"]),
                    last_seen=max(self._course.seen_at, known["last_seen"]),
                    removed_at=gone if back else known["removed_at"],
                    **(values if newer else {}),
                )
            )
            self._course.met.add(str(known["id"]))
            if newer and {column: known[column] for column in name} != name:
                await self._named(str(known["id"]), name)
            return
        location_id = tx.new_id()
        await tx.execute(
            insert(table).values(
                id=location_id,
                organization_id=self._course.organization,
                source_id=source_id,
                secret_id=secret_id,
                vendor_id=self._course.origin.vendor_id or None,
                place=location.id,
                first_seen=self._course.seen_at,
                last_seen=self._course.seen_at,
                removed_at=gone,
                **values,
            )
        )
        await self._named(location_id, name)
        self._course.met.add(location_id)
        self._course.new_locations += 1
        await self._course.note(
            ChangeKind.LOCATION_FOUND, secret_id, path=location.path, kind=location.kind
        )

    async def _named(self, location_id: str, name: dict[str, str]) -> None:
        tx = self._course.tx
        await tx.execute(delete(NAMES).where(NAMES.c.location_id == location_id))
        if name["called"] or name["object"]:
            await tx.execute(
                insert(NAMES).values(
                    location_id=location_id, organization_id=self._course.organization, **name
                )
            )

    async def mention(self, source_id: str, mention: Mention) -> None:
        """Write that a name without a value stands there."""
        location = msgspec.structs.replace(mention.location, name=mention.name)
        await self.take(
            source_id,
            location,
            None,
            mention.provider,
            reason=mention.reason,
            refers_to=mention.refers_to,
        )

    async def remove_unmet(self, source_id: str, *, history: bool) -> int:
        """Say of every place of the source that this complete scan did not meet: it is gone.

        What an earlier part of the same scan met was seen at the same time, and stays. So does
        what lies in a history only, when the scan looked at none.
        """
        table, tx = LOCATIONS, self._course.tx
        there = await tx.rows(
            select(table.c.id, table.c.secret_id, table.c.path).where(
                table.c.organization_id == self._course.organization,
                table.c.source_id == source_id,
                table.c.removed_at.is_(None),
                table.c.last_seen < self._course.seen_at,
                *(() if history else (table.c.in_history_only.is_(False),)),
            )
        )
        gone = [row for row in there if row["id"] not in self._course.met]
        for row in gone:
            await tx.execute(
                update(table).where(table.c.id == row["id"]).values(removed_at=self._course.seen_at)
            )
            await self._course.note(ChangeKind.LOCATION_REMOVED, row["secret_id"], path=row["path"])
        for secret_id in sorted({row["secret_id"] for row in gone} - {None}):
            await self.settle(secret_id)
        return len(gone)

    async def settle(self, secret_id: str) -> None:
        """A secret is removed when its last place is, and back when one of them is."""
        table, tx = LOCATIONS, self._course.tx
        places = await tx.rows(select(table.c.removed_at).where(table.c.secret_id == secret_id))
        gone = [row["removed_at"] for row in places if row["removed_at"] is not None]
        removed_at = max(gone) if len(gone) == len(places) else None
        known = await tx.row(select(SECRETS.c.removed_at).where(SECRETS.c.id == secret_id))
        if known is None or known["removed_at"] == removed_at:
            return
        await tx.execute(
            update(SECRETS).where(SECRETS.c.id == secret_id).values(removed_at=removed_at)
        )
        if removed_at is None:
            await self._course.note(ChangeKind.SEEN_AGAIN, secret_id)
        elif known["removed_at"] is None:
            await self._course.note(ChangeKind.REMOVED_EVERYWHERE, secret_id)
