"""What is found of the generated corpus, whose generator knows nothing of the detectors."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench" / "scan"
GOAL = 0.97


def test_the_goal_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    corpus = importlib.import_module("corpus")
    finds = importlib.import_module("finds")
    scanner = importlib.import_module("keylease_scanner")
    planted = corpus.write(tmp_path / "corpus", seed=20261122, rounds=1)
    assert len({item.file_kind for item in planted}) >= 8
    scanned = scanner.scan(tmp_path / "corpus")
    judged = finds.judge(planted, scanned.finds)
    for held_out in (False, True):
        part = [named for item, (_, named) in judged.items() if item.held_out is held_out]
        assert sum(part) >= GOAL * len(part)
    scores = finds.scores(judged, "kind")
    missed = {kind for kind, score in scores.items() if score.found == 0}
    assert missed == set()
    by_path = {item.path: item for item in planted}
    others = [
        find
        for find, _ in scanned.above_low
        if not finds.holds(find, by_path[find.path]) and find.rule != "aws-access-key-id"
    ]
    assert len(others) <= 0.002 * len(planted)


def test_the_generator_knows_nothing_of_the_detectors() -> None:
    for module in ("kinds", "files", "corpus"):
        assert "import keylease.detectors" not in (text := (BENCH / f"{module}.py").read_text())
        assert "from keylease.detectors" not in text
