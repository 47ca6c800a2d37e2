"""The reference of the span model is complete, and made from the code."""

from pathlib import Path

from docs.span_model import field_docstrings, span_model_page

from keylease.platform.traces.model import Meaning, Span
from keylease.platform.traces.understanding.registry import DIALECTS

PAGE = Path(__file__).parents[5] / "docs" / "reference" / "span-model.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == span_model_page()


def test_every_field_is_explained() -> None:
    assert set(field_docstrings("Meaning")) == set(Meaning.__struct_fields__)


def test_dialects_speak_of_fields_that_exist() -> None:
    for dialect in DIALECTS:
        spoken = {*dialect.texts, *dialect.counts, *dialect.notes}
        assert spoken <= set(Meaning.__struct_fields__), dialect.name


def test_every_meaning_has_its_column() -> None:
    assert set(Meaning.__struct_fields__) <= set(Span.__struct_fields__)
