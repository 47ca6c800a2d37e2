"""How large expressions are when their repetitions are written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.platform.traces.expression_size import size_of


@pytest.mark.parametrize(
    ("expression", "size"),
    [
        ("", 0),
        ("abc", 3),
        (r"KD-[0-9]{8}", 11),
        (r"[a-z]{2}\d{3,5}x*y+?", 9),
        ("a.{1000}b", 1002),
        ("(a{1,500}){1,500}", 250_000),
        ("((ab|c){3}d){2}", 20),
        ("a{2}{3}", 6),
        ("x{0}y{3,}", 4),
        (r"[{]{7}\{9}", 8 + 2),
        (r"[]a{5}]{2}[^]\]]{3}", 5),
        (r"[[:alpha:]]{4}", 4),
        (r"\p{Lu}{9}", 9),
        (r"\Qa{5}\E", 4),
        ("(?i)a(?:b){3}(?P<n>c){2}(?=d)", 7),
        ("((((", 0),
        ("a)b){9}", 18),
    ],
)
def test_repetitions_count_as_often_as_they_may(expression: str, size: int) -> None:
    assert size_of(expression) == size


@given(st.text(alphabet="a[](){}|\\{1,}2?*+^Q:<>P", max_size=60))
def test_any_text_has_a_size(expression: str) -> None:
    assert size_of(expression) >= 0


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_what_is_nested_multiplies(first: int, second: int, third: int) -> None:
    assert size_of(f"((a{{{first}}}){{1,{second}}}){{{third}}}") == first * second * third
