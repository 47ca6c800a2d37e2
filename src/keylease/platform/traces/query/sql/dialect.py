"""ClickHouse's SQL as users may write it: sqlglot's grammar without its knowledge of functions.

sqlglot turns the functions it knows into its own terms, and those into SQL again, which can be
other SQL. Here every function stays what was written: a name, to be looked up on our list.
"""

from __future__ import annotations

from typing import ClassVar

from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.parsers.clickhouse import ClickHouseParser


class UserSql(ClickHouse):
    """What a statement of a user is parsed and generated with."""

    class Parser(ClickHouseParser):
        """Knows syntax only."""

        FUNCTIONS: ClassVar = {}
        FUNCTION_PARSERS: ClassVar = {
            name: parse
            for name, parse in ClickHouseParser.FUNCTION_PARSERS.items()
            if name == "CAST"
        }
        NO_PAREN_FUNCTION_PARSERS: ClassVar = {
            name: parse
            for name, parse in ClickHouseParser.NO_PAREN_FUNCTION_PARSERS.items()
            if name == "CASE"
        }
        NO_PAREN_FUNCTIONS: ClassVar = {}

        def _warn_unsupported(self) -> None:
            """Refuse what sqlglot would take as it is, and write into the log."""
            self.raise_error("Not a query")
