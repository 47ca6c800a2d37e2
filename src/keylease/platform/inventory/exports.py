"""The inventory for other programs: JSON, CSV, CycloneDX.

CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/) describes secrets as cryptographic assets of
the type related-crypto-material; places are evidence of their occurrence.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

import keylease
from keylease.platform.inventory.consumers import KnownBy
from keylease.platform.inventory.records import Sighting
from keylease.primitives.cells import harmless
from keylease.primitives.clock import isoformat

COLUMNS: Final = (
    "id", "provider", "kind", "masked", "key_id", "confidence", "live", "owner", "credential",
    "states", "risk", "first_seen", "last_seen", "removed_at", "last_used", "consumers", "places",
    "consumers_holding", "consumers_named", "believed_places",
)  # fmt: skip


class ExportFormat(StrEnum):
    """What can be asked for."""

    JSON = "json"
    CSV = "csv"
    CYCLONEDX = "cyclonedx"


class Content(msgspec.Struct, frozen=True):
    """An exported file."""

    body: bytes
    media_type: str
    suffix: str


def export(seen: Sequence[Sighting], form: ExportFormat, *, now: int) -> Content:
    """The secrets in a format."""
    match form:
        case ExportFormat.JSON:
            return Content(msgspec.json.encode(seen), "application/json", "json")
        case ExportFormat.CSV:
            return Content(_csv(seen).encode(), "text/csv; charset=utf-8", "csv")
        case ExportFormat.CYCLONEDX:
            document = msgspec.json.encode(_cyclonedx(seen, now))
            return Content(document, "application/vnd.cyclonedx+json; version=1.6", "cdx.json")


def _csv(seen: Iterable[Sighting]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerow(COLUMNS)
    for one in seen:
        cells = (
            one.id,
            one.provider,
            one.kind,
            one.masked,
            one.key_id,
            one.confidence,
            {True: "live", False: "dead", None: "unknown"}[one.live],
            one.owner,
            one.credential.name if one.credential else "",
            " ".join(one.states),
            one.risk,
            isoformat(one.first_seen),
            isoformat(one.last_seen),
            isoformat(one.removed_at) if one.removed_at else "",
            isoformat(one.last_used) if one.last_used else "",
            " ".join(_users(one, KnownBy.SEEN_USING)),
            "\n".join(place.location.path for place in one.places),
            "\n".join(_users(one, KnownBy.HOLDS_VALUE)),
            "\n".join(_users(one, KnownBy.NAMED)),
            "\n".join(believed.place.location.path for believed in one.believed_places),
        )
        writer.writerow(map(harmless, cells))
    return out.getvalue()


def _users(one: Sighting, known_by: KnownBy) -> list[str]:
    """Whoever uses it now. Principals by what they are called; others with their kind."""
    return list(
        dict.fromkeys(
            user.principal or user.words
            for user in one.consumers
            if user.known_by is known_by and user.removed_at is None
        )
    )


def _cyclonedx(seen: Iterable[Sighting], now: int) -> dict[str, Any]:
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": isoformat(now),
            "tools": {
                "components": [
                    {"type": "application", "name": "keylease", "version": keylease.__version__}
                ]
            },
        },
        "components": [_component(one) for one in seen],
    }


def _component(one: Sighting) -> dict[str, Any]:
    properties = [
        ("keylease:provider", one.provider),
        ("keylease:owner", one.owner),
        ("keylease:risk", str(one.risk)),
        *(("keylease:state", value) for value in one.states),
        *(("keylease:consumer", name) for name in _users(one, KnownBy.SEEN_USING)),
        *(("keylease:consumer:holding", name) for name in _users(one, KnownBy.HOLDS_VALUE)),
        *(("keylease:consumer:named", name) for name in _users(one, KnownBy.NAMED)),
        *(
            ("keylease:believed_place", believed.place.location.path)
            for believed in one.believed_places
        ),
    ]
    material: dict[str, Any] = {"type": "credential", "id": one.id}
    if one.live is not None:
        material["state"] = "active" if one.live else "deactivated"
    return {
        "type": "cryptographic-asset",
        "bom-ref": one.id,
        "name": f"{one.provider} {one.kind} {one.masked}",
        "cryptoProperties": {
            "assetType": "related-crypto-material",
            "relatedCryptoMaterialProperties": material,
        },
        "evidence": {
            "occurrences": [
                {"location": place.location.path, "line": max(place.location.line, 0)}
                for place in one.places
            ]
        },
        "properties": [{"name": name, "value": value} for name, value in properties if value],
    }
