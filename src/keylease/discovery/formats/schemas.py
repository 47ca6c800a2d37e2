"""JSON schemas of what a scan writes, made from the types that write it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from keylease.contracts.findings import Baseline, ScanReport
from keylease.discovery.formats.csv_format import COLUMNS
from keylease.discovery.formats.sarif import SCHEMA as SARIF_SCHEMA

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """By file name below docs/reference."""
    return {
        "scan-report.schema.json": _of(ScanReport, "What `keylease scan --format json` writes."),
        "scan-baseline.schema.json": _of(Baseline, "What `--write-baseline` writes."),
        "scan-csv.schema.json": {
            "$schema": _DIALECT,
            "title": "A line of `keylease scan --format csv`, by its heading.",
            "type": "object",
            "properties": {column: _column(column) for column in COLUMNS},
            "required": list(COLUMNS),
            "additionalProperties": False,
        },
        "scan-sarif.schema.json": {
            "$schema": _DIALECT,
            "title": "What `keylease scan --format sarif` writes: SARIF 2.1.0, narrowed.",
            "allOf": [{"$ref": SARIF_SCHEMA}],
            "properties": {
                "version": {"const": "2.1.0"},
                "runs": {
                    "minItems": 1,
                    "maxItems": 1,
                    "items": {"required": ["tool", "invocations", "results"]},
                },
            },
        },
    }


def _of(kind: type, title: str) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return {"$schema": _DIALECT, "title": title, **schema, "$defs": components}


def _column(name: str) -> dict[str, Any]:
    if name == "record":
        return {"enum": ["finding", "mention", "practice"]}
    if name in {"known", "in_history_only"}:
        return {"enum": ["true", "false"]}
    if name == "liveness":
        return {"enum": ["", "live", "dead", "unknown"]}
    if name in {"line", "column"}:
        return {"type": "string", "pattern": "^[0-9]*$"}
    return {"type": "string"}
