"""Takes scan reports: the same secret in many places becomes one row, and what is gone is said.

docs/design/inventory.md has the rules. A report is data from outside: every text is bounded, and a
report that contains what looks like a secret is refused whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from keylease import detectors
from keylease.contracts.audit import AuditAction
from keylease.contracts.findings import (
    Confidence,
    Finding,
    Fingerprint,
    Liveness,
    Location,
    Mention,
    ScanReport,
)
from keylease.errors import InputInvalid, PermissionDenied, SecretInRequest
from keylease.platform.db.callers import Caller
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.inventory.changes import Change, ChangeKind, write_change
from keylease.platform.inventory.reported import link_reported
from keylease.platform.inventory.tables import (
    CHANGES,
    EXCEPTIONS,
    FINGERPRINTS,
    LOCATIONS,
    SECRETS,
    SOURCES,
)

_RANK: Final = {level: number for number, level in enumerate(Confidence)}
_MANAGE: Final = "inventory:manage"
_AT_ONCE: Final = 500
"""Values in one IN list: databases bound them."""
_LONGEST_NAME: Final = 500
"""Characters of a source's name."""


class Intaken(msgspec.Struct, frozen=True, kw_only=True):
    """What a report changed."""

    source_id: str
    seen_at: int = 0
    """When the platform takes the scan to have begun: the parts of one scan say the same."""
    new_secrets: int = 0
    new_locations: int = 0
    seen_again: int = 0
    removed: int = 0
    merged: int = 0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a report comes from: the source that it covers."""

    kind: str
    """``scan``, ``connector`` or ``attestation``."""
    name: str
    vendor_id: str = ""


def origin_of(report: ScanReport) -> Origin:
    """The source a scanner's report covers: what is complete for itself only.

    Three checkouts of one repository are three sources, told apart by host and path. Whether the
    history was looked at makes no other source; ``Intake`` knows what that leaves out.
    """
    name = f"{report.host}:{','.join(report.covers or sorted(report.roots))}"
    if len(name) > _LONGEST_NAME:  # cut short, two sources could become one
        digest = hashlib.sha256(name.encode()).hexdigest()
        name = f"{name[: _LONGEST_NAME - len(digest) - 1]}#{digest}"
    return Origin(kind="scan", name=name)


class Intake:
    """One report in one transaction."""

    def __init__(self, tx: Transaction, origin: Origin, *, seen_at: int) -> None:
        """``seen_at`` is when the scan began; microseconds UTC."""
        self._tx = tx
        self._origin = origin
        self._seen_at = seen_at
        self._organization = tx.caller.organization_id
        self._new_secrets = self._new_locations = self._again = self._merged = 0
        self._met: set[str] = set()
        self._overtaken_at: int | None = None
        """When a complete scan of the source was made after this one, that arrived before it."""

    async def take(self, report: ScanReport, *, covers_all: bool) -> Intaken:
        """Write what the report says. ``covers_all``: what it does not name is gone."""
        refuse_secrets(report)
        source_id, current = await self._source(complete=covers_all)
        for finding in report.findings:
            secret_id = await self._secret(finding, source_id)
            await self._verified(secret_id, finding)
            for location in finding.locations:
                await self._location(source_id, location, secret_id, finding.provider)
            await self._settle(secret_id)
        for mention in report.mentions:
            await self._mention(source_id, mention)
        await link_reported(self._tx)
        removed = 0
        if covers_all and current:
            removed = await self._remove_unmet(source_id, history=report.history)
        taken = Intaken(
            source_id=source_id,
            seen_at=self._seen_at,
            new_secrets=self._new_secrets,
            new_locations=self._new_locations,
            seen_again=self._again,
            removed=removed,
            merged=self._merged,
        )
        await self._tx.record(
            AuditAction.INVENTORY_SCAN_TAKEN,
            source_id,
            details={
                "new_secrets": str(taken.new_secrets),
                "new_locations": str(taken.new_locations),
                "removed": str(taken.removed),
            },
        )
        return taken

    # --- sources -------------------------------------------------------------------------

    async def _source(self, *, complete: bool) -> tuple[str, bool]:
        """The source's identifier, and whether this report is not older than its last one."""
        table, tx = SOURCES, self._tx
        known = await tx.row(
            select(table).where(
                table.c.organization_id == self._organization,
                table.c.kind == self._origin.kind,
                table.c.name == self._origin.name,
            )
        )
        if known is None:
            source_id = tx.new_id()
            await tx.execute(
                insert(table).values(
                    id=source_id,
                    organization_id=self._organization,
                    kind=self._origin.kind,
                    name=self._origin.name,
                    pushed_by=tx.caller.name,
                    first_scan_at=self._seen_at,
                    last_scan_at=self._seen_at,
                    last_complete_at=self._seen_at if complete else None,
                )
            )
            return source_id, True
        others = known["pushed_by"] != tx.caller.name and known["retired_at"] is None
        if others and _only_pushes(tx.caller):
            # Or else it could say of everything that somebody else has found that it is gone.
            raise PermissionDenied(
                "Somebody else pushes what this report covers.",
                advice="Name other roots, or retire the source first if its scanner was replaced.",
            )
        current = self._seen_at >= known["last_scan_at"]
        if known["last_complete_at"] is not None and known["last_complete_at"] > self._seen_at:
            self._overtaken_at = known["last_complete_at"]
        await tx.execute(
            update(table)
            .where(table.c.id == known["id"])
            .values(
                pushed_by=tx.caller.name,
                last_scan_at=max(self._seen_at, known["last_scan_at"]),
                last_complete_at=(
                    self._seen_at if complete and current else known["last_complete_at"]
                ),
                retired_at=None,
            )
        )
        return str(known["id"]), current

    # --- secrets -------------------------------------------------------------------------

    async def _secret(self, finding: Finding, source_id: str) -> str:
        known = await self._known(finding, source_id)
        if not known:
            return await self._new_secret(finding)
        oldest, *others = known
        await self._refuse_contradiction([str(row["id"]) for row in known], finding.fingerprints)
        for other in others:
            await self._merge(str(other["id"]), into=str(oldest["id"]))
        await self._add_fingerprints(str(oldest["id"]), finding.fingerprints)
        surer = _RANK[finding.confidence] > _RANK[Confidence(oldest["confidence"])]
        described = (
            {
                "provider": finding.provider,
                "kind": finding.kind,
                "masked": finding.masked,
                "confidence": finding.confidence,
            }
            if surer
            else {}
        )
        await self._tx.execute(
            update(SECRETS)
            .where(SECRETS.c.id == oldest["id"])
            .values(
                first_seen=min(self._seen_at, oldest["first_seen"]),
                last_seen=max(self._seen_at, *(row["last_seen"] for row in known)),
                key_id=oldest["key_id"] or finding.key_id,
                version=oldest["version"] + 1,
                **described,
            )
        )
        return str(oldest["id"])

    async def _verified(self, secret_id: str, finding: Finding) -> None:
        """Keep what the provider said, when the scan asked it and it answered."""
        if finding.liveness not in {Liveness.LIVE, Liveness.DEAD}:
            return
        asked_at = min(finding.liveness_at or self._seen_at, self._tx.now)
        whose = finding.belongs_to
        words = (
            ()
            if whose is None
            else (whose.account, whose.organization, whose.project, *whose.scopes)
        )
        await self._tx.execute(
            update(SECRETS)
            .where(
                SECRETS.c.id == secret_id,
                or_(SECRETS.c.liveness_at.is_(None), SECRETS.c.liveness_at <= asked_at),
            )
            .values(
                liveness=finding.liveness.value,
                liveness_at=asked_at,
                belongs_to=", ".join(word for word in words if word)[:500],
            )
        )

    async def _known(self, finding: Finding, source_id: str) -> list[Row]:
        """The secrets that this finding is, oldest first; more than one are to be merged."""
        condition: ColumnElement[bool]
        if finding.fingerprints:
            condition = SECRETS.c.id.in_(
                select(FINGERPRINTS.c.secret_id).where(
                    FINGERPRINTS.c.organization_id == self._organization,
                    FINGERPRINTS.c.fingerprint.in_(list(map(str, finding.fingerprints))),
                )
            )
        else:
            condition = SECRETS.c.id.in_(
                select(LOCATIONS.c.secret_id).where(
                    LOCATIONS.c.organization_id == self._organization,
                    LOCATIONS.c.source_id == source_id,
                    LOCATIONS.c.place.in_([place.id for place in finding.locations[:_AT_ONCE]]),
                    LOCATIONS.c.provider == finding.provider,
                )
            ) & ~SECRETS.c.id.in_(
                select(FINGERPRINTS.c.secret_id).where(
                    FINGERPRINTS.c.organization_id == self._organization
                )
            )
        return list(
            await self._tx.rows(
                select(SECRETS)
                .where(SECRETS.c.organization_id == self._organization, condition)
                .order_by(SECRETS.c.first_seen, SECRETS.c.id)
            )
        )

    async def _refuse_contradiction(
        self, secret_ids: list[str], found: tuple[Fingerprint, ...]
    ) -> None:
        """Raise ``InputInvalid`` when what would be one secret has two fingerprints of one key.

        They are two secrets then. Or else whoever may only push could make one of all of them, or
        put their own fingerprint to somebody's secret.
        """
        rows = await self._tx.rows(
            select(FINGERPRINTS.c.fingerprint).where(
                FINGERPRINTS.c.organization_id == self._organization,
                FINGERPRINTS.c.secret_id.in_(secret_ids),
            )
        )
        _check_one_each({*map(str, found), *(str(row["fingerprint"]) for row in rows)})

    async def _new_secret(self, finding: Finding) -> str:
        _check_one_each(set(map(str, finding.fingerprints)))
        tx = self._tx
        secret_id = tx.new_id()
        await tx.execute(
            insert(SECRETS).values(
                id=secret_id,
                organization_id=self._organization,
                provider=finding.provider,
                kind=finding.kind,
                masked=finding.masked,
                key_id=finding.key_id,
                confidence=finding.confidence,
                liveness="unknown",
                belongs_to="",
                owner="",
                owner_confirmed=False,
                first_seen=self._seen_at,
                last_seen=self._seen_at,
                version=1,
            )
        )
        await self._add_fingerprints(secret_id, finding.fingerprints)
        await self._note(
            ChangeKind.FOUND, secret_id, provider=finding.provider, masked=finding.masked
        )
        self._new_secrets += 1
        return secret_id

    async def _add_fingerprints(self, secret_id: str, found: Iterable[Fingerprint]) -> None:
        wanted = set(map(str, found))
        if not wanted:
            return
        table = FINGERPRINTS
        known = await self._tx.rows(
            select(table.c.fingerprint).where(
                table.c.organization_id == self._organization, table.c.fingerprint.in_(wanted)
            )
        )
        for fingerprint in sorted(wanted - {row["fingerprint"] for row in known}):
            await self._tx.execute(
                insert(table).values(
                    organization_id=self._organization,
                    fingerprint=fingerprint,
                    secret_id=secret_id,
                )
            )

    async def _merge(self, other: str, *, into: str) -> None:
        """Two rows turned out to be one secret: the older one takes everything over."""
        tx = self._tx
        for table in (FINGERPRINTS, LOCATIONS, CHANGES, EXCEPTIONS):
            await tx.execute(update(table).where(table.c.secret_id == other).values(secret_id=into))
        await self._join_places(into)
        taken = await tx.row(select(SECRETS).where(SECRETS.c.id == other))
        kept = await tx.row(select(SECRETS).where(SECRETS.c.id == into))
        if taken is not None and kept is not None:
            await tx.execute(
                update(SECRETS)
                .where(SECRETS.c.id == into)
                .values(
                    owner=kept["owner"] or taken["owner"],
                    credential_id=kept["credential_id"] or taken["credential_id"],
                    first_seen=min(kept["first_seen"], taken["first_seen"]),
                )
            )
        await tx.execute(delete(SECRETS).where(SECRETS.c.id == other))
        await self._note(ChangeKind.MERGED, into, other=other)
        self._merged += 1

    async def _join_places(self, secret_id: str) -> None:
        """What two secrets had at one place is one location of the secret that they are."""
        table, tx = LOCATIONS, self._tx
        rows = await tx.rows(
            select(table)
            .where(table.c.secret_id == secret_id)
            .order_by(table.c.first_seen, table.c.id)
        )
        kept: dict[tuple[str, str], Row] = {}
        for row in rows:
            first = kept.setdefault((row["source_id"], row["place"]), row)
            if first is row:
                continue
            ends = (first["removed_at"], row["removed_at"])
            await tx.execute(delete(table).where(table.c.id == row["id"]))
            joined = {
                "last_seen": max(first["last_seen"], row["last_seen"]),
                "removed_at": None if None in ends else max(ends),
            }
            await tx.execute(update(table).where(table.c.id == first["id"]).values(**joined))
            kept[row["source_id"], row["place"]] = {**first, **joined}  # type: ignore[assignment]  # a row that was changed
            if row["id"] in self._met:
                self._met.add(first["id"])

    # --- locations -----------------------------------------------------------------------

    async def _location(
        self, source_id: str, location: Location, secret_id: str | None, provider: str
    ) -> None:
        table, tx = LOCATIONS, self._tx
        same_secret = (
            table.c.secret_id.is_(None) if secret_id is None else table.c.secret_id == secret_id
        )
        known = await tx.row(
            select(table.c.id, table.c.first_seen, table.c.last_seen, table.c.removed_at)
            .where(
                table.c.organization_id == self._organization,
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
        gone = None if location.in_history_only else self._overtaken_at
        if known is not None:
            self._again += 1
            newer = self._seen_at >= known["last_seen"]
            back = newer and (known["removed_at"] or 0) <= self._seen_at
            await tx.execute(
                update(table)
                .where(table.c.id == known["id"])
                .values(
                    first_seen=min(self._seen_at, known["first_seen"]),
                    last_seen=max(self._seen_at, known["last_seen"]),
                    removed_at=gone if back else known["removed_at"],
                    **(values if newer else {}),
                )
            )
            self._met.add(str(known["id"]))
            return
        location_id = tx.new_id()
        await tx.execute(
            insert(table).values(
                id=location_id,
                organization_id=self._organization,
                source_id=source_id,
                secret_id=secret_id,
                vendor_id=self._origin.vendor_id or None,
                place=location.id,
                first_seen=self._seen_at,
                last_seen=self._seen_at,
                removed_at=gone,
                **values,
            )
        )
        self._met.add(location_id)
        self._new_locations += 1
        await self._note(
            ChangeKind.LOCATION_FOUND, secret_id, path=location.path, kind=location.kind
        )

    async def _mention(self, source_id: str, mention: Mention) -> None:
        location = msgspec.structs.replace(mention.location, name=mention.name)
        await self._location(source_id, location, None, mention.provider)

    async def _remove_unmet(self, source_id: str, *, history: bool) -> int:
        """Say of every place of the source that this complete scan did not meet: it is gone.

        What an earlier part of the same scan met was seen at the same time, and stays. So does
        what lies in a history only, when the scan looked at none.
        """
        table, tx = LOCATIONS, self._tx
        there = await tx.rows(
            select(table.c.id, table.c.secret_id, table.c.path).where(
                table.c.organization_id == self._organization,
                table.c.source_id == source_id,
                table.c.removed_at.is_(None),
                table.c.last_seen < self._seen_at,
                *(() if history else (table.c.in_history_only.is_(False),)),
            )
        )
        gone = [row for row in there if row["id"] not in self._met]
        for row in gone:
            await tx.execute(
                update(table).where(table.c.id == row["id"]).values(removed_at=self._seen_at)
            )
            await self._note(ChangeKind.LOCATION_REMOVED, row["secret_id"], path=row["path"])
        for secret_id in sorted({row["secret_id"] for row in gone} - {None}):
            await self._settle(secret_id)
        return len(gone)

    async def _settle(self, secret_id: str) -> None:
        """A secret is removed when its last place is, and back when one of them is."""
        table, tx = LOCATIONS, self._tx
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
            await self._note(ChangeKind.SEEN_AGAIN, secret_id)
        elif known["removed_at"] is None:
            await self._note(ChangeKind.REMOVED_EVERYWHERE, secret_id)

    async def _note(self, what: ChangeKind, secret_id: str | None, **details: str) -> None:
        await write_change(self._tx, Change(what=what, secret_id=secret_id, details=details))


def _only_pushes(caller: Caller) -> bool:
    """Whether an API key is used that may not look after the inventory."""
    return caller.permissions is not None and _MANAGE not in caller.permissions


def _check_one_each(fingerprints: set[str]) -> None:
    keys = [text.rpartition(".")[0] for text in fingerprints]
    if len(keys) != len(set(keys)):
        raise InputInvalid(
            "A finding's fingerprints are of more than one secret.",
            advice="One secret has one fingerprint for each version of the fingerprint key.",
        )


def refuse_secrets(report: ScanReport) -> None:
    """Raise ``SecretInRequest`` when any text of the report looks like a secret."""
    text = msgspec.json.encode(report).decode()
    if detectors.looks_like_secret(text):
        raise SecretInRequest(
            "The report contains something that looks like a key. Nothing was stored.",
            advice="Use a scanner that masks what it found; `keylease scan` does.",
        )
