from __future__ import annotations

import io
import sys

import msgspec
import pytest

from keylease.cli import scan
from keylease.contracts.findings import Confidence, Finding, ScanCounts, ScanReport
from keylease.discovery.scan import Progress

EMPTY = ScanReport(
    scanner="x",
    started_at=0,
    finished_at=0,
    host="h",
    roots=(),
    complete=True,
    counts=ScanCounts(),
    findings=(),
    mentions=(),
    problems=(),
)


def with_finding(confidence: Confidence, *, known: bool = False) -> ScanReport:
    finding = Finding(
        id="x",
        provider="",
        kind="k",
        confidence=confidence,
        masked="...",
        known=known,
        locations=(),
    )
    return msgspec.structs.replace(EMPTY, findings=(finding,))


@pytest.mark.parametrize(
    ("confidence", "fail_on", "status"),
    [
        (Confidence.HIGH, scan.FailOn.HIGH, 3),
        (Confidence.MEDIUM, scan.FailOn.HIGH, 0),
        (Confidence.MEDIUM, scan.FailOn.MEDIUM, 3),
        (Confidence.LOW, scan.FailOn.MEDIUM, 0),
        (Confidence.LOW, scan.FailOn.ANY, 3),
        (Confidence.HIGH, None, 0),
    ],
)
def test_what_fails(confidence: Confidence, fail_on: scan.FailOn | None, status: int) -> None:
    assert scan.status_of(with_finding(confidence), fail_on) == status
    assert scan.status_of(with_finding(confidence, known=True), fail_on) == 0


def test_an_interruption_and_what_was_not_read_have_their_status() -> None:
    incomplete = msgspec.structs.replace(EMPTY, complete=False)
    assert scan.status_of(incomplete, None) == 4
    assert scan.status_of(msgspec.structs.replace(incomplete, interrupted=True), None) == 130


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_scan_says_how_far_it_is_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([0.0, 0.5, 1.1, 1.15, 1.4])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    meter = scan._Meter(moments.__next__)
    for files in (10, 20, 30, 40):
        meter.show(Progress(files=files, bytes=5_000_000, objects=files, secrets=2))
    meter.clear()
    assert terminal.getvalue() == (
        "\r\x1b[K20 files, 20 git objects, 5 MB, 2 places with secrets"
        "\r\x1b[K40 files, 40 git objects, 5 MB, 2 places with secrets"
        "\r\x1b[K"
    )
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    silent = scan._Meter(iter([0.0, 9.0]).__next__)
    silent.show(Progress(files=1, bytes=1, objects=0, secrets=0))
    assert file.getvalue() == ""
