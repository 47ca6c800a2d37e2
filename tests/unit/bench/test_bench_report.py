"""The tables of the benchmarks and the section of the page they are written into."""

from __future__ import annotations

from pathlib import Path

import pytest

import report


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "-"),
        (0.1234, 3, "0.123"),
        (2.0, 2, "2.00"),
        (999.5, 2, "999.50"),
        (12345.6, 2, "12,346"),
        (7.4, 0, "7"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert report.number(value, digits) == text


def table() -> report.Table:
    made = report.Table("Speed", ("", "rate"))
    made.add("ours", "1,000")
    made.add("theirs, longer", "9")
    made.notes.append("a note")
    return made


def test_a_table_as_text_lines_up() -> None:
    assert table().text().splitlines() == [
        "Speed",
        "                 rate",
        "---------------------",
        "ours            1,000",
        "theirs, longer      9",
        "  a note",
    ]


def test_a_table_as_markdown() -> None:
    assert table().markdown().splitlines() == [
        "### Speed",
        "",
        "|  | rate |",
        "|---|---:|",
        "| ours | 1,000 |",
        "| theirs, longer | 9 |",
        "",
        "- a note",
    ]


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Speed\nby hand\n{report.BEGIN}\nold\n{report.END}\nbelow\n")
    report.write_section(page, "new\n")
    assert page.read_text() == f"# Speed\nby hand\n{report.BEGIN}\nnew\n{report.END}\nbelow\n"


def test_a_page_without_a_section_gets_one(tmp_path: Path) -> None:
    page = tmp_path / "reference" / "performance.md"
    report.write_section(page, "new")
    assert page.read_text() == f"# Performance\n\n{report.BEGIN}\nnew\n{report.END}\n"
