"""Which secret a finding is: known by its fingerprints, or by its place; two may become one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from keylease.contracts.findings import Confidence, Finding, Fingerprint, Liveness
from keylease.errors import InputInvalid
from keylease.platform.db.transaction import Row
from keylease.platform.inventory.changes import ChangeKind
from keylease.platform.inventory.intake_course import Course
from keylease.platform.inventory.tables import (
    CHANGES,
    EXCEPTIONS,
    FINGERPRINTS,
    LOCATIONS,
    SECRETS,
)

_RANK: Final = {level: number for number, level in enumerate(Confidence)}
_AT_ONCE: Final = 500
"""Values in one IN list: databases bound them."""


class SecretIntake:
    """Finds, makes and merges the secrets of one report."""

    def __init__(self, course: Course) -> None:
        self._course = course

    async def take(self, finding: Finding, source_id: str) -> str:
        """The identifier of the secret that a finding is; makes it, and merges what it joins."""
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
        await self._course.tx.execute(
            update(SECRETS)
            .where(SECRETS.c.id == oldest["id"])
            .values(
                first_seen=min(self._course.seen_at, oldest["first_seen"]),
                last_seen=max(self._course.seen_at, *(row["last_seen"] for row in known)),
                key_id=oldest["key_id"] or finding.key_id,
                version=oldest["version"] + 1,
                **described,
            )
        )
        return str(oldest["id"])

    async def verified(self, secret_id: str, finding: Finding) -> None:
        """Keep what the provider said, when the scan asked it and it answered."""
        if finding.liveness not in {Liveness.LIVE, Liveness.DEAD}:
            return
        asked_at = min(finding.liveness_at or self._course.seen_at, self._course.tx.now)
        whose = finding.belongs_to
        words = (
            ()
            if whose is None
            else (whose.account, whose.organization, whose.project, *whose.scopes)
        )
        await self._course.tx.execute(
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
                    FINGERPRINTS.c.organization_id == self._course.organization,
                    FINGERPRINTS.c.fingerprint.in_(list(map(str, finding.fingerprints))),
                )
            )
        else:
            condition = SECRETS.c.id.in_(
                select(LOCATIONS.c.secret_id).where(
                    LOCATIONS.c.organization_id == self._course.organization,
                    LOCATIONS.c.source_id == source_id,
                    LOCATIONS.c.place.in_([place.id for place in finding.locations[:_AT_ONCE]]),
                    LOCATIONS.c.provider == finding.provider,
                )
            ) & ~SECRETS.c.id.in_(
                select(FINGERPRINTS.c.secret_id).where(
                    FINGERPRINTS.c.organization_id == self._course.organization
                )
            )
        return list(
            await self._course.tx.rows(
                select(SECRETS)
                .where(SECRETS.c.organization_id == self._course.organization, condition)
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
        rows = await self._course.tx.rows(
            select(FINGERPRINTS.c.fingerprint).where(
                FINGERPRINTS.c.organization_id == self._course.organization,
                FINGERPRINTS.c.secret_id.in_(secret_ids),
            )
        )
        _check_one_each({*map(str, found), *(str(row["fingerprint"]) for row in rows)})

    async def _new_secret(self, finding: Finding) -> str:
        _check_one_each(set(map(str, finding.fingerprints)))
        tx = self._course.tx
        secret_id = tx.new_id()
        await tx.execute(
            insert(SECRETS).values(
                id=secret_id,
                organization_id=self._course.organization,
                provider=finding.provider,
                kind=finding.kind,
                masked=finding.masked,
                key_id=finding.key_id,
                confidence=finding.confidence,
                liveness="unknown",
                belongs_to="",
                owner="",
                owner_confirmed=False,
                first_seen=self._course.seen_at,
                last_seen=self._course.seen_at,
                version=1,
            )
        )
        await self._add_fingerprints(secret_id, finding.fingerprints)
        await self._course.note(
            ChangeKind.FOUND, secret_id, provider=finding.provider, masked=finding.masked
        )
        self._course.new_secrets += 1
        return secret_id

    async def _add_fingerprints(self, secret_id: str, found: Iterable[Fingerprint]) -> None:
        wanted = set(map(str, found))
        if not wanted:
            return
        table = FINGERPRINTS
        known = await self._course.tx.rows(
            select(table.c.fingerprint).where(
                table.c.organization_id == self._course.organization,
                table.c.fingerprint.in_(wanted),
            )
        )
        for fingerprint in sorted(wanted - {row["fingerprint"] for row in known}):
            await self._course.tx.execute(
                insert(table).values(
                    organization_id=self._course.organization,
                    fingerprint=fingerprint,
                    secret_id=secret_id,
                )
            )

    async def _merge(self, other: str, *, into: str) -> None:
        """Two rows turned out to be one secret: the older one takes everything over."""
        tx = self._course.tx
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
        await self._course.note(ChangeKind.MERGED, into, other=other)
        self._course.merged[other] = into

    async def _join_places(self, secret_id: str) -> None:
        """What two secrets had at one place is one location of the secret that they are."""
        table, tx = LOCATIONS, self._course.tx
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
            if row["id"] in self._course.met:
                self._course.met.add(first["id"])


def _check_one_each(fingerprints: set[str]) -> None:
    keys = [text.rpartition(".")[0] for text in fingerprints]
    if len(keys) != len(set(keys)):
        raise InputInvalid(
            "A finding's fingerprints are of more than one secret.",
            advice="One secret has one fingerprint for each version of the fingerprint key.",
        )
