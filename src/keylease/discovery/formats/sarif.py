"""SARIF 2.1.0 (OASIS), for code scanning pages and editors.

A secret in several places is one result for each, with the same fingerprint, because readers of
SARIF show results by file.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import keylease
from keylease.contracts.findings import Confidence, Finding, Location, ScanReport
from keylease.discovery.formats.belonging import belonging
from keylease.primitives.clock import isoformat

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: Final = {
    Confidence.HIGH: "error",
    Confidence.MEDIUM: "warning",
    Confidence.LOW: "note",
}
_SEVERITIES: Final = {Confidence.HIGH: "9.0", Confidence.MEDIUM: "6.0", Confidence.LOW: "3.0"}
"""GitHub's ``security-severity``."""


def to_sarif(report: ScanReport) -> dict[str, Any]:
    """The report's findings. Mentions are no results: there is nothing to remove."""
    rules = {finding.kind: finding for finding in reversed(report.findings)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "keylease",
                        "semanticVersion": keylease.__version__,
                        "rules": [_rule(kind, rules[kind]) for kind in sorted(rules)],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "invocations": [
                    {
                        "executionSuccessful": report.complete,
                        "startTimeUtc": isoformat(report.started_at),
                        "endTimeUtc": isoformat(report.finished_at),
                        "toolExecutionNotifications": [
                            {
                                "level": "warning" if problem.incomplete else "note",
                                "descriptor": {"id": problem.code},
                                "message": {"text": f"{problem.path}: {problem.message}"},
                            }
                            for problem in report.problems
                        ],
                    }
                ],
                "results": [
                    _result(finding, location)
                    for finding in report.findings
                    for location in finding.locations
                ],
            }
        ],
    }


def _rule(kind: str, finding: Finding) -> dict[str, Any]:
    return {
        "id": kind,
        "shortDescription": {"text": f"Secret: {kind}"},
        "help": {"text": "Revoke the secret where it was issued; then remove it from here."},
        "properties": {
            "tags": ["security", "secret", *filter(None, [finding.provider])],
            "security-severity": _SEVERITIES[finding.confidence],
        },
    }


def _result(finding: Finding, location: Location) -> dict[str, Any]:
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote(location.repository_path or location.path)}
    }
    if location.line:
        place["region"] = {"startLine": location.line, "startColumn": max(location.column, 1)}
    where = f" in {location.name}" if location.name else ""
    past = ", in the history only" if location.in_history_only else ""
    result: dict[str, Any] = {
        "ruleId": finding.kind,
        "level": _LEVELS[finding.confidence],
        "message": {"text": f"{finding.kind} {finding.masked}{where}{past}. {finding.reason}"},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"keyleaseLocation/v1": location.id},
        "properties": {"confidence": finding.confidence.value, "provider": finding.provider},
    }
    if finding.liveness:
        result["message"]["text"] += f" {finding.liveness.value}: {finding.liveness_reason}"
        result["properties"] |= {
            "liveness": finding.liveness.value,
            "livenessReason": finding.liveness_reason,
            **({"livenessAt": isoformat(finding.liveness_at)} if finding.liveness_at else {}),
            **({"belongsTo": belonging(finding.belongs_to)} if finding.belongs_to else {}),
        }
    if finding.fingerprints:
        result["fingerprints"] = {"keylease/v1": str(finding.fingerprints[0])}
    if finding.known:
        result["suppressions"] = [{"kind": "external", "justification": "in the baseline"}]
    return result
