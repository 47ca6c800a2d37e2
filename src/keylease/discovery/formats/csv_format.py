"""One line for each location, for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Final

from keylease.contracts.findings import Finding, Location, ScanReport
from keylease.discovery.formats.belonging import belonging
from keylease.primitives.cells import harmless
from keylease.primitives.clock import isoformat

COLUMNS: Final = (
    "record", "provider", "kind", "confidence", "masked", "key_id", "fingerprint", "known",
    "place", "path", "line", "column", "name", "environment", "detail", "repository",
    "repository_path", "in_history_only", "first_commit", "first_at", "first_author",
    "removed_commit", "removed_at", "owner_candidates", "liveness", "liveness_reason",
    "liveness_at", "belongs_to",
)  # fmt: skip
"""``record`` is ``finding``, ``mention`` or ``practice``; a finding has a line for each place."""


def to_csv(report: ScanReport) -> str:
    """The report's locations. A cell that a spreadsheet would calculate begins with ``'``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in report.findings:
        for location in finding.locations:
            writer.writerow(
                _cells(
                    "finding",
                    finding.provider,
                    finding.kind,
                    finding.confidence.value,
                    finding.masked,
                    finding.key_id,
                    str(finding.fingerprints[0]) if finding.fingerprints else "",
                    finding.known,
                    *_place(location),
                    *_liveness(finding),
                )
            )
    nothing = ("", "", "", "")
    for mention in report.mentions:
        row = ("mention", mention.provider, mention.reason, "", "", "", "", "false")
        writer.writerow(_cells(*row, *_place(mention.location), *nothing))
    for practice in report.practices:
        row = ("practice", "", practice.name, "", "", "", "", "false")
        writer.writerow(_cells(*row, *_place(practice.location), *nothing))
    return text.getvalue()


def _liveness(finding: Finding) -> tuple[object, ...]:
    return (
        finding.liveness.value if finding.liveness else "",
        finding.liveness_reason,
        isoformat(finding.liveness_at) if finding.liveness_at else "",
        belonging(finding.belongs_to),
    )


def _place(location: Location) -> tuple[object, ...]:
    first, removed = location.first, location.removed
    return (
        location.kind.value,
        location.path,
        location.line or "",
        location.column or "",
        location.name,
        location.environment,
        location.detail,
        location.repository,
        location.repository_path,
        location.in_history_only,
        first.commit if first else "",
        isoformat(first.at) if first else "",
        first.author if first else "",
        removed.commit if removed else "",
        isoformat(removed.at) if removed else "",
        "; ".join(f"{owner.owner} ({owner.reason})" for owner in location.owner_candidates),
    )


def _cells(*values: object) -> list[str]:
    return [harmless(str(value).lower() if isinstance(value, bool) else value) for value in values]
