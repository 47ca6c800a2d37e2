"""A cell is a text: for spreadsheets, and for terminals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.primitives.cells import harmless


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff20"])
def test_a_formula_becomes_a_text(sign: str) -> None:
    assert harmless(f"{sign}cmd()|'x'!A0").startswith(f"'{sign}")


def test_what_steers_a_terminal_does_not_pass() -> None:
    assert harmless("a\x1b[2J\x9b\u202e\r=b\nc\td") == "a?[2J???=b\nc\td"
    assert harmless("\r=1") == "?=1"


def test_other_values_stay_what_they_are() -> None:
    assert [harmless(value) for value in (None, 7, "Größe 🙂", "a=b", "")] == [
        "",
        "7",
        "Größe 🙂",
        "a=b",
        "",
    ]


@given(st.text())
def test_no_cell_begins_as_a_formula_or_steers(text: str) -> None:
    cell = harmless(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert all(c.isprintable() or c in "\n\t\u3000\xa0" for c in cell)
    assert harmless(cell) == cell
