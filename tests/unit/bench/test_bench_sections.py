"""One page holds the results of several comparisons."""

from __future__ import annotations

from pathlib import Path

import report


def test_each_comparison_writes_its_own_section(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nWords.\n")
    report.write_section(page, "calls")
    report.write_section(page, "spans", begin="<!-- b -->", end="<!-- e -->")
    report.write_section(page, "more calls")
    report.write_section(page, "more spans", begin="<!-- b -->", end="<!-- e -->")
    text = page.read_text()
    assert text.startswith("# Performance\n\nWords.\n")
    assert [text.count(words) for words in ("more calls", "more spans", "calls", "spans")] == [
        1
    ] * 4
