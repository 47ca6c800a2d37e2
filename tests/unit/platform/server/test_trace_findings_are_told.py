"""What masking found reaches the inventory, whatever else stands in the span."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.secret_templates import fill
from tests.support.trace_kit import raw_span

from keylease.contracts.findings import ScanReport
from keylease.platform.db.callers import Caller
from keylease.platform.inventory.intake import refuse_secrets
from keylease.platform.server.trace_findings import TraceFindings
from keylease.platform.traces.ingest.intake import Reported
from keylease.platform.traces.ingest.masking import Masker
from keylease.primitives.fingerprints import new_keys

KEYS = new_keys("test")
MASKER = Masker()
EXAMPLE = "AKIA" + "IOSFODNN7EXAMPLE"
PLACEHOLDER = "sk-proj-" + "x" * 40


class Inventory:
    """Takes what the inventory would take."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    async def take(self, caller: Caller, report: ScanReport, *, source: str) -> None:
        del caller, source
        refuse_secrets(report)
        self.found += [
            (place.name, place.detail) for one in report.findings for place in one.locations
        ]


def reported(**changes: Any) -> list[Reported]:  # noqa: ANN401 - members of a span
    """What is found in a span."""
    masked = MASKER.masked([raw_span(**changes)], KEYS.of)
    return [
        Reported(organization_id="o", project_id="p", at=1, secret=secret)
        for secret in masked.found
    ]


@pytest.mark.parametrize("odd", [EXAMPLE, PLACEHOLDER])
async def test_an_example_in_a_name_keeps_no_finding_from_the_inventory(odd: str) -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 1)
    findings, inventory = TraceFindings(), Inventory()
    for one in reported(name=f"rotate {odd}", attributes={f"about {odd}": key}):
        findings.add(one)
    await findings.write(inventory)  # type: ignore[arg-type]  # as much of it as is used
    ((name, detail),) = inventory.found
    assert findings.lost == 0
    assert name.startswith("about ")
    assert detail.startswith("span rotate ")


async def test_a_finding_that_is_refused_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 2)
    findings, inventory = TraceFindings(), Inventory()
    for number in range(3):
        for one in reported(attributes={f"note {number}": key}):
            findings.add(one)

    def unmasked(text: str) -> tuple[str, list[Any]]:
        return (PLACEHOLDER if text == "note 1" else text), []

    monkeypatch.setattr("keylease.detectors.mask", unmasked)
    await findings.write(inventory)  # type: ignore[arg-type]  # as above
    assert [name for name, _ in inventory.found] == ["note 0", "note 2"]
    assert findings.lost == 1
