"""Long work on the trace store says how far it is, on a terminal and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from keylease.cli.traces_meter import Meter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown_a_few_times_a_second_and_cleared(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    shown = _Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    times = iter([0.0, 0.1, 0.3, 0.35, 0.6])
    meter = Meter(lambda: next(times))
    for done in (1, 2, 3):
        meter.show(done * 1_000_000, 9_000_000)
    meter.show(4_000_000)
    meter.clear()
    words = ["", "2 of 9 MB", "4 MB", ""] if is_terminal else [""]
    assert shown.getvalue().split("\r\x1b[K") == words
