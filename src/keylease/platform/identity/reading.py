"""Rows of the database as frozen shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from keylease.platform.db.transaction import Row

T = TypeVar("T")


def shaped(row: Row | Mapping[str, Any], kind: type[T]) -> T:
    """A row as ``kind``. SQLAlchemy's names are a kind of text that msgspec takes for no key."""
    return msgspec.convert({str(name): value for name, value in row.items()}, kind)
