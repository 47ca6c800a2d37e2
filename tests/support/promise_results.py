"""The last result of each promise's tests, in a file that the trust report can show.

A promise is ``kept`` only when every test function of its files ran and passed, ``broken`` when one
failed. A run of some of them, which failed nowhere, says nothing new: what stood in the file stays,
with its own commit and date. Parameters of a test are not counted, so that ``-k`` can leave some
out unseen.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

FORMAT: Final = 1
_OF_PROMISE: Final = re.compile(r"tests/promises/(test_p(\d)_\w+\.py)::(\w+)")


class PromiseResults:
    """Collects the outcome of each test below tests/promises, on the controller of a run."""

    def __init__(self, promises: Path, target: Path, *, commit: Callable[[], str]) -> None:
        self._promises = promises
        self._target = target
        self._commit = commit
        self._outcomes: dict[str, list[str]] = defaultdict(list)
        self._ran: set[tuple[str, str]] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = _OF_PROMISE.search(report.nodeid)
        if match and (report.when == "call" or report.outcome != "passed"):
            self._outcomes[f"P{match[2]}"].append(report.outcome)
            self._ran.add((match[1], match[3]))

    def pytest_sessionfinish(self) -> None:
        results = {name: self._result(name) for name in sorted(self._outcomes)}
        new = {name: result for name, result in results.items() if result is not None}
        if new:
            # In its place: a server that is confined may read this file, and no other.
            self._target.parent.mkdir(exist_ok=True)
            self._target.write_text(json.dumps(self._with(new), indent=2) + "\n")

    def _with(self, new: dict[str, dict[str, Any]]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        said = {"commit": self._commit(), "at": now}
        promises = {**self._before(), **{name: {**one, **said} for name, one in new.items()}}
        return {"format": FORMAT, **said, "promises": dict(sorted(promises.items()))}

    def _before(self) -> dict[str, dict[str, Any]]:
        """What stands in the file; a result without a commit of its own gets that of the file."""
        try:
            found = json.loads(self._target.read_text())
            said = {"commit": found["commit"], "at": found["at"]}
            return {name: {**said, **one} for name, one in found["promises"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _result(self, promise: str) -> dict[str, Any] | None:
        outcomes = self._outcomes[promise]
        counts = {kind: outcomes.count(kind) for kind in ("passed", "failed", "skipped")}
        if counts["failed"]:
            return {"result": "broken", **counts}
        if not self._functions(promise) <= self._ran:
            return None
        return {"result": "not verified" if counts["skipped"] else "kept", **counts}

    def _functions(self, promise: str) -> set[tuple[str, str]]:
        """Every test function of a promise's files, whether it was chosen or not."""
        return {
            (file.name, node.name)
            for file in self._promises.glob(f"test_{promise.lower()}_*.py")
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
        }
