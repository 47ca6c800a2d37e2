"""kill -9 at every system call of every change of the sealed store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
OLD = {"old": "value"}


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("first", {}, {"new": "new-value"}),
        ("put", OLD, {**OLD, "new": "new-value"}),
        ("replace", OLD, {"old": "replaced"}),
        ("remove", OLD, {}),
        ("rekey", OLD, OLD),
    ],
    ids=["first", "put", "replace", "remove", "rekey"],
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new(
    action: str, before: dict[str, str], after: dict[str, str], tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_writer", action, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    steps = json.loads(result.stdout)
    assert len(steps) > 8
    for step in steps:
        assert step["after_kill"] in (before, after)
        assert step["after_next"] == {**step["after_kill"], "next": "x"}
        assert step["leftovers"] == []
    assert steps[0]["after_kill"] == before
    assert steps[-1]["after_kill"] == after
