"""Scans inside a test's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Finding, Location, ScanReport
from keylease.discovery.git.command import find_git
from keylease.discovery.scan import Surroundings, Wanted, scan
from keylease.primitives.fingerprints import new_keys

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}


def surroundings(**changes: Any) -> Surroundings:  # noqa: ANN401 - fields of many types
    made = Surroundings(
        clock=ManualClock(),
        keys=new_keys("test"),
        git=find_git(ENVIRONMENT),
        home=Path("/nonexistent"),
        host="machine",
        states=None,
        detectors="1",
        processes=1,
    )
    return made._replace(**changes)


def look_at(*roots: Path, given: Surroundings | None = None, **wanted: Any) -> ScanReport:  # noqa: ANN401 - as above
    """A report whose paths are below the first root."""
    named = tuple((str(root), "." if at == 0 else str(root)) for at, root in enumerate(roots))
    return scan(Wanted(roots=named, **wanted), given or surroundings())


def only(report: ScanReport) -> Finding:
    found = [finding for finding in report.findings if finding.confidence != "low"]
    assert len(found) == 1, [(f.kind, [loc.path for loc in f.locations]) for f in found]
    return found[0]


def place(report: ScanReport) -> Location:
    (location,) = only(report).locations
    return location


def paths(report: ScanReport) -> set[str]:
    return {
        location.path
        for finding in report.findings
        if finding.confidence != "low"
        for location in finding.locations
    }


def codes(report: ScanReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in report.problems:
        found.setdefault(problem.code, []).append(problem.path)
    return found
