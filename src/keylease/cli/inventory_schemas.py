"""JSON schemas of what the inventory's commands and exports write, made from what writes it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from keylease.cli.incident_words import COLUMNS as PREVIEW_COLUMNS
from keylease.platform.inventory.exports import COLUMNS as EXPORT_COLUMNS
from keylease.platform.inventory.graph import Graph
from keylease.platform.inventory.preview import Preview
from keylease.platform.inventory.records import Place, Sighting, Vendor
from keylease.platform.inventory.repository import HistoryLine
from keylease.platform.inventory.webhook_records import Delivery, Message, Webhook

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_CYCLONEDX: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_NUMBERS: Final = frozenset({"line", "risk", "minutes_for_secret"})


def inventory_schemas() -> dict[str, dict[str, Any]]:
    """By file name below docs/reference."""
    return {
        "incident-preview.schema.json": _of(
            Preview, "What `keylease incident preview --format json` writes."
        ),
        "incident-preview-csv.schema.json": _row(
            PREVIEW_COLUMNS, "A line of `keylease incident preview --format csv`, by its heading."
        ),
        "inventory-export.schema.json": _of(
            tuple[Sighting, ...],
            "What `keylease inventory export` and `keylease inventory list --json` write.",
        ),
        "inventory-export-csv.schema.json": _row(
            EXPORT_COLUMNS, "A line of `keylease inventory export --format csv`, by its heading."
        ),
        "inventory-export-cyclonedx.schema.json": {
            "$schema": _DIALECT,
            "title": "What `keylease inventory export --format cyclonedx` writes: CycloneDX 1.6.",
            "allOf": [{"$ref": _CYCLONEDX}],
            "properties": {
                "bomFormat": {"const": "CycloneDX"},
                "specVersion": {"const": "1.6"},
                "components": {
                    "items": {
                        "required": ["bom-ref", "cryptoProperties", "evidence", "properties"],
                        "properties": {"type": {"const": "cryptographic-asset"}},
                    }
                },
            },
            "required": ["bomFormat", "specVersion", "components"],
        },
        "inventory-graph.schema.json": _of(Graph, "What `keylease inventory graph` writes."),
        "inventory-secret.schema.json": _of(
            Sighting, "What `keylease inventory show --json` writes."
        ),
        "inventory-history.schema.json": _of(
            tuple[HistoryLine, ...], "What `keylease inventory history --json` writes."
        ),
        "inventory-mentions.schema.json": _of(
            tuple[Place, ...], "What `keylease inventory mentions --json` writes."
        ),
        "inventory-webhooks.schema.json": _of(
            tuple[Webhook, ...], "What `keylease inventory webhook list --json` writes."
        ),
        "inventory-deliveries.schema.json": _of(
            tuple[Delivery, ...], "What `keylease inventory webhook deliveries --json` writes."
        ),
        "inventory-webhook-message.schema.json": _of(
            Message, "What is sent to a webhook when the inventory changes."
        ),
        "vendors.schema.json": _of(
            tuple[Vendor, ...], "What `keylease vendor list --json` writes."
        ),
    }


def _of(kind: Any, title: str) -> dict[str, Any]:  # noqa: ANN401 - a type
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return {"$schema": _DIALECT, "title": title, **schema, "$defs": components}


def _row(columns: tuple[str, ...], title: str) -> dict[str, Any]:
    digits = {"type": "string", "pattern": "^[0-9]*$"}
    return {
        "$schema": _DIALECT,
        "title": title,
        "type": "object",
        "properties": {
            column: digits if column in _NUMBERS else {"type": "string"} for column in columns
        },
        "required": list(columns),
        "additionalProperties": False,
    }
