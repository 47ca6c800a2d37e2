"""Which result of a promise is written down: never more than what ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.promise_results import PromiseResults

FILES = {
    "test_p3_one.py": "def test_a(): ...\nasync def test_b(): ...\ndef helper(): ...\n",
    "test_p3_two.py": "def test_c(): ...\n",
    "test_p4_only.py": "def test_d(): ...\n",
}


class Runs:
    def __init__(self, home: Path) -> None:
        self.promises = home / "promises"
        self.promises.mkdir()
        for name, text in FILES.items():
            (self.promises / name).write_text(text)
        self.target = home / "build" / "promises.json"
        self.number = 0

    def run(self, **outcomes: str) -> dict[str, Any]:
        """Tests by name of file and function, as ``one__a="passed"``; gives what is written."""
        self.number += 1
        results = PromiseResults(self.promises, self.target, commit=lambda: f"commit {self.number}")
        for name, outcome in outcomes.items():
            file, function = name.split("__")
            promise = "p4" if file == "only" else "p3"
            results.pytest_runtest_logreport(
                pytest.TestReport(
                    nodeid=f"tests/promises/test_{promise}_{file}.py::test_{function}[x]",
                    location=("", 0, ""),
                    keywords={},
                    outcome=outcome,  # type: ignore[arg-type]  # one of pytest's three words
                    longrepr=None,
                    when="setup" if outcome == "skipped" else "call",
                )
            )
        results.pytest_sessionfinish()
        written: dict[str, Any] = (
            json.loads(self.target.read_text())["promises"] if self.target.exists() else {}
        )
        return written


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


WHOLE = {"one__a": "passed", "one__b": "passed", "two__c": "passed"}


def test_a_promise_is_kept_when_all_of_its_tests_passed(runs: Runs) -> None:
    written = runs.run(**WHOLE)
    assert written["P3"]["result"] == "kept"
    assert (written["P3"]["passed"], written["P3"]["commit"]) == (3, "commit 1")
    assert "P4" not in written, "which makes it not verified"


def test_some_of_its_tests_say_nothing_new(runs: Runs) -> None:
    assert runs.run(one__a="passed") == {}
    runs.run(**WHOLE)
    written = runs.run(one__a="passed", only__d="passed")
    assert written["P3"]["commit"] == "commit 2", "the last whole run"
    assert (written["P4"]["result"], written["P4"]["commit"]) == ("kept", "commit 3")


def test_one_failure_breaks_it_whatever_else_ran(runs: Runs) -> None:
    runs.run(**WHOLE)
    written = runs.run(one__a="failed")
    assert (written["P3"]["result"], written["P3"]["commit"]) == ("broken", "commit 2")
    assert runs.run(**WHOLE)["P3"]["result"] == "kept"


def test_what_was_skipped_is_not_verified(runs: Runs) -> None:
    assert runs.run(**{**WHOLE, "two__c": "skipped"})["P3"]["result"] == "not verified"


def test_an_older_or_damaged_file_is_no_obstacle(runs: Runs) -> None:
    runs.target.parent.mkdir()
    old = {"result": "kept", "passed": 1, "failed": 0, "skipped": 0}
    document = {"format": 1, "commit": "old", "at": "then", "promises": {"P4": old}}
    runs.target.write_text(json.dumps(document))
    assert runs.run(**WHOLE)["P4"] == {**old, "commit": "old", "at": "then"}
    runs.target.write_text("{")
    assert set(runs.run(**WHOLE)) == {"P3"}
