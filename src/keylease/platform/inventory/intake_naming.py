"""Tells the history which consumers a report brought to a secret, and which it took away."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.findings import ScanReport
from keylease.platform.inventory.changes import ChangeKind
from keylease.platform.inventory.consumers import Consumer
from keylease.platform.inventory.consuming import named_by
from keylease.platform.inventory.intake_course import Course
from keylease.platform.inventory.linking import NameLink
from keylease.platform.inventory.namesakes import links_among, sought_for, sought_in_source

Named = dict[tuple[str, str], Consumer]
"""By secret and consumer."""
_LONGEST: Final = 300
"""Characters of a text in a line of history."""


class Naming:
    """Who names which secret, before a report and after it."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._sought = sought_for(())
        self._before: Named = {}

    async def look(self, report: ScanReport, source_id: str, *, whole: bool) -> None:
        """Remember what is now. ``whole``: what is in the source may be gone afterwards."""
        named = [location for finding in report.findings for location in finding.locations] + [
            msgspec.structs.replace(mention.location, name=mention.name)
            for mention in report.mentions
        ]
        self._sought = sought_for(
            ((location, source_id) for location in named),
            (mention.refers_to for mention in report.mentions),
        )
        if whole:
            self._sought |= await sought_in_source(self._course.tx, source_id)
        self._before = await self._now()

    async def tell(self) -> None:
        """Write a line for each difference."""
        after = await self._now()
        merged = self._course.merged
        before = {
            (_last(merged, secret), user): one for (secret, user), one in self._before.items()
        }
        for (secret_id, user), one in after.items():
            if (secret_id, user) not in before:
                await self._line(ChangeKind.CONSUMER_FOUND, secret_id, one)
        for (secret_id, user), one in before.items():
            if (secret_id, user) not in after:
                await self._line(ChangeKind.CONSUMER_GONE, secret_id, one)

    async def _now(self) -> Named:
        links = await links_among(self._course.tx, self._sought)
        by_secret: dict[str, list[NameLink]] = {}
        for link in links:
            by_secret.setdefault(link.secret_id, []).append(link)
        return {
            (secret_id, one.id): one
            for secret_id, each in by_secret.items()
            for one in named_by(each)
            if one.removed_at is None
        }

    async def _line(self, what: ChangeKind, secret_id: str, one: Consumer) -> None:
        await self._course.note(
            what,
            secret_id,
            consumer=one.id,
            kind=one.kind,
            name=one.words[:_LONGEST],
            evidence=one.evidence[:_LONGEST],
        )


def _last(merged: dict[str, str], secret_id: str) -> str:
    """The secret that one became; what it became may have become another."""
    while secret_id in merged:
        secret_id = merged[secret_id]
    return secret_id
