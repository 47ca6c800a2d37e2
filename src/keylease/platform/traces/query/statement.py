"""SQL with its bound parameters. Text of a caller is a parameter, never a part of the SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

RESERVED: Final = "kl_"
"""Names of parameters, tables and columns that begin so are ours; a user's statement has none."""


class Statement(msgspec.Struct, frozen=True):
    """What ``Store.select`` takes."""

    sql: str
    parameters: Mapping[str, object]


class Parameters:
    """Collects the parameters of one statement."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def bind(self, value: object, kind: str) -> str:
        """The placeholder for a value of this ClickHouse type."""
        name = f"{RESERVED}{len(self._values)}"
        self._values[name] = value
        return f"{{{name}:{kind}}}"

    def text(self, value: str) -> str:
        """The placeholder for a text."""
        return self.bind(value, "String")

    def texts(self, values: list[str]) -> str:
        """The placeholder for a list of texts."""
        return self.bind(values, "Array(String)")

    def time(self, micros: int) -> str:
        """A point in time, microseconds UTC."""
        return f"fromUnixTimestamp64Micro({self.bind(micros, 'Int64')}, 'UTC')"

    def values(self) -> dict[str, object]:
        """All of them, by name."""
        return dict(self._values)
