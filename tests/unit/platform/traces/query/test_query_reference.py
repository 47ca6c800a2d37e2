"""The reference says what is there, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.queried_spans import SCOPE, START, rows_of

from keylease.platform.traces.query.fields import FIELDS, OPEN_PARTS
from keylease.platform.traces.query.lists import spans_page
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import SPAN_COLUMNS
from keylease.platform.traces.query.sql.functions import AGGREGATES, SCALARS, WINDOW_FUNCTIONS
from keylease.platform.traces.query.sql.scoping import scoped_query
from keylease.platform.traces.store.store import TraceStore

PAGE = (Path(__file__).parents[5] / "docs" / "reference" / "query.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
FILTERS = BLOCKS[0][1].splitlines()
STATEMENTS = [text for kind, text in BLOCKS if kind == "sql"]


def test_there_are_examples() -> None:
    assert len(FILTERS) > 5
    assert len(STATEMENTS) > 3


@pytest.mark.parametrize("text", FILTERS)
def test_filters_of_the_page_are_run(store: TraceStore, text: str) -> None:
    rows_of(store, spans_page(SCOPE, limit=5, where=parse_filter(text, now=START)))


@pytest.mark.parametrize("text", STATEMENTS)
def test_statements_of_the_page_are_run(store: TraceStore, text: str) -> None:
    query = scoped_query(text, SCOPE)
    store.select_for_user(query.statement.sql, query.statement.parameters)
    explained = query.explained()
    plan = store.select_for_user(explained.sql, explained.parameters)
    assert "ReadFromMergeTree" in repr(plan.rows)


def test_every_field_is_on_the_page_with_its_type() -> None:
    table = dict(re.findall(r"^\| `(\w+)`[^|]*\| (\w+) \|", PAGE, re.MULTILINE))
    for field in FIELDS:
        assert table[field.name] == str(field.type)
        assert field.about in PAGE
        assert all(choice in PAGE for choice in field.choices)
    for part, about in OPEN_PARTS.items():
        assert f"| `{part}` | {about} |" in PAGE


def test_every_function_is_on_the_page_and_no_other() -> None:
    listed = set(" ".join(text for kind, text in BLOCKS[-3:]).split())
    assert listed == AGGREGATES | WINDOW_FUNCTIONS | SCALARS


def test_every_function_of_the_list_is_known_to_the_engine(store: TraceStore) -> None:
    known = {str(row[0]).lower() for row in store.select("SELECT name FROM system.functions").rows}
    assert not {name for name in AGGREGATES | SCALARS if name.lower() not in known}


def test_every_column_is_named_on_the_page() -> None:
    fields = {field.name for field in FIELDS}
    for column in set(SPAN_COLUMNS) - fields - {"organization_id"}:
        assert f"`{column}`" in PAGE, column
