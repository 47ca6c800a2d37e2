"""`keylease doctor`: what protects the keys on this machine, what does not, and why.

Nothing is changed and no secret is shown. The exit status is 1 when something is wrong, 0 when
there are at most warnings.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

import keylease
from keylease.cli import output
from keylease.cli.database_examination import examine_database
from keylease.cli.examination import Area, Finding, State, examine
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.primitives.clock import SystemClock

_MARKS: Final = {
    State.GOOD: "ok",
    State.NOTE: "--",
    State.WARNING: "warning",
    State.PROBLEM: "problem",
}


def command(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Say what protects the keys on this machine, and what does not."""
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    findings = [*examine(settings, clock=SystemClock()), *examine_database(settings)]
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    if as_json:
        output.emit_json(
            {"version": keylease.__version__, "problems": problems, "findings": findings}
        )
    else:
        _show(findings)
        warnings = sum(finding.state is State.WARNING for finding in findings)
        output.say(f"{output.counted(problems, 'problem')}, {output.counted(warnings, 'warning')}.")
    return 1 if problems else 0


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for area in Area:
        of_area = [finding for finding in findings if finding.area is area]
        if not of_area:
            continue
        output.emit(f"{area.value}:")
        for finding in of_area:
            mark = _MARKS[finding.state].ljust(max(map(len, _MARKS.values())))
            output.emit(f"  {mark}  {finding.name.ljust(width)}  {finding.detail}".rstrip())
            if finding.advice:
                output.emit(f"  {' ' * len(mark)}  {' ' * width}  {finding.advice}")
