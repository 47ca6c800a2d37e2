"""What holds for every test.

Results of the promises are written where the trust report and ``keylease doctor`` look for them.
Tests that repeat lines many times are not measured for coverage. Where memory has room, temporary
files lie in it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MEMORY = "/dev/shm"  # noqa: S108 - pytest makes a private directory in it
ENOUGH = 4 * 1024**3
"""Bytes; a run of everything leaves a small part of it."""
PROMISE_FILE = re.compile(r"tests/promises/test_p(\d)_")


class PromiseResults:
    """Collects the outcome of each test below tests/promises, on the controller of a run."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = PROMISE_FILE.search(report.nodeid)
        if match and (report.when == "call" or report.outcome != "passed"):
            self.outcomes[f"P{match[1]}"].append(report.outcome)

    def pytest_sessionfinish(self) -> None:
        if not self.outcomes:
            return
        results = {
            promise: {
                "result": "kept" if set(outcomes) == {"passed"} else "not verified",
                "passed": outcomes.count("passed"),
                "failed": outcomes.count("failed"),
                "skipped": outcomes.count("skipped"),
            }
            for promise, outcomes in sorted(self.outcomes.items())
        }
        target = ROOT / "build" / "promises.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(
            json.dumps(
                {
                    "format": 1,
                    "commit": commit(),
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "promises": results,
                },
                indent=2,
            )
            + "\n"
        )


def interrupts_are_heard() -> None:
    """Undo what a shell does to a job in its background: children inherit an ignored SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def commit() -> str:
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 - git of the developer
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or "unknown"


def keep_files_in_memory() -> None:
    """Much of what is tested waits for the disk (fsync), thousands of times in a run.

    No test takes the power away, so none needs a disk; PYTEST_DEBUG_TEMPROOT=/tmp gives one.
    """
    try:
        room = os.statvfs(MEMORY)
    except OSError:
        return  # not Linux
    if room.f_bavail * room.f_frsize >= ENOUGH and not room.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


def pytest_configure(config: pytest.Config) -> None:
    interrupts_are_heard()
    if not hasattr(config, "workerinput"):
        keep_files_in_memory()
        config.pluginmanager.register(PromiseResults(), "promise-results")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out of coverage what runs the same lines again, and again.

    Measuring makes Python code take 1.7 times as long (CPython 3.11). A test on PostgreSQL has its
    twin on SQLite, and generated cases are many rounds through what examples have shown.
    """
    for item in items:
        if _on_postgresql(item) or _is_generated(item):
            item.add_marker(pytest.mark.no_cover)


def _on_postgresql(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return False
    # By type first: a parameter may be a secret, which refuses to be compared.
    return any(
        isinstance(value, str) and value == "postgresql" for value in callspec.params.values()
    )


def _is_generated(item: pytest.Item) -> bool:
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
