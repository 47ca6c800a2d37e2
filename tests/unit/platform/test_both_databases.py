"""What touches the platform's database is tested on SQLite and on PostgreSQL, or says why not.

Tests take ``database`` (or an address) from ``tests.support.databases``, which gives both. Whoever
opens a SQLite file by itself, takes one of the two only, or runs a server on its default, stands in
``ON_SQLITE_ALONE``.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.support.databases import ON_SQLITE_ALONE

TESTS = Path(__file__).parents[2]
PLACES = ("unit/platform", "integration", "promises", "support")
OWN = {"support/databases.py", "unit/platform/test_both_databases.py"}
TWINS = {"migrated_postgres"}
TAKES_ONE = {"database_url", "migrated_url"}


def alone(source: str) -> bool:
    """Whether a file opens what is SQLite only."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="sqlite_url")):
                return not _has_twin(tree)
            case ast.arg(arg="migrated_sqlite"):
                return not _has_twin(tree)
            case ast.Call(
                func=ast.Attribute(attr="parametrize"), args=[ast.Constant(value=name), values, *_]
            ):
                if name in TAKES_ONE and "postgresql" not in ast.unparse(values):
                    return True
            case _:
                pass
    return False


def _has_twin(tree: ast.AST) -> bool:
    """Whether the same file uses PostgreSQL's counterpart by itself."""
    return any(isinstance(node, ast.arg) and node.arg in TWINS for node in ast.walk(tree))


@pytest.mark.no_cover
def test_what_is_on_sqlite_alone_is_listed_with_its_reason() -> None:
    found = {
        name
        for place in PLACES
        for path in (TESTS / place).rglob("*.py")
        if (name := str(path.relative_to(TESTS))) not in OWN and alone(path.read_text())
    }
    assert found - set(ON_SQLITE_ALONE) == set(), "use the fixture `database`, or say why not"
    assert set(ON_SQLITE_ALONE) - found == set(), "it is on both: take it out"
    assert all(len(reason) > 20 for reason in ON_SQLITE_ALONE.values())


@pytest.mark.parametrize(
    ("source", "is_alone"),
    [
        ("Database(sqlite_url(file), clock=clock)", True),
        ("def test_x(migrated_sqlite): ...", True),
        ("def test_x(migrated_sqlite): ...\ndef test_y(migrated_postgres): ...", False),
        ('@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)\ndef t(): ...', True),
        (
            '@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)\ndef t(): ...',
            False,
        ),
        ("def test_x(database): ...", False),
        ("from tests.support.databases import database, migrated_sqlite", False),
    ],
)
def test_the_look_is_not_blind(source: str, *, is_alone: bool) -> None:
    assert alone(source) is is_alone
