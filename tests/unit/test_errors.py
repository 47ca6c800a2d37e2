"""The exception tree keeps what its docstring promises."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from keylease import errors

TREE = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, errors.KeyleaseError)
]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_has_a_code_of_its_own(error: type[errors.KeyleaseError]) -> None:
    assert "code" in vars(error)
    assert re.fullmatch(r"[a-z][a-z_]+", error.code)
    assert [other for other in TREE if other.code == error.code] == [error]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_is_drawn_in_the_tree_and_explained(error: type[errors.KeyleaseError]) -> None:
    assert error.__name__ in (errors.__doc__ or "")
    assert error.__doc__


def test_every_error_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text()
    assert [error.code for error in TREE if f"`{error.code}`" not in page] == []


def test_the_text_is_message_and_advice_and_nothing_else() -> None:
    error = errors.StoreUnavailable("The store is down.", advice="Start it.")
    assert str(error) == "The store is down. Start it."
