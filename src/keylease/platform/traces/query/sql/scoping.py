"""Gives a statement of a user the caller's rows, and nothing else, by construction.

Protects: what is run names three kinds of tables only: ours, each as a SELECT of the caller's
    organization and projects with both bound as parameters; queries of the statement's own WITH,
    under names that no table has; and sub-queries. Every text of the user is a bound parameter, so
    that no quoting can be got wrong. The generated statement is read again and must be the same.
Does not protect: against a query that is slow. ``Store.select_for_user`` runs it under limits, and
    its engine, which is strictly read only, refuses files and hosts once more.
Limits: relies on ``functions`` listing no function that reads anything but its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlglot import exp
from sqlglot.errors import SqlglotError

from keylease.errors import QueryInvalid, QueryNotAllowed
from keylease.platform.traces.query.scope import ONCE, SPAN_COLUMNS, Scope, owner_sql, select_sql
from keylease.platform.traces.query.sql.dialect import UserSql
from keylease.platform.traces.query.sql.reading import (
    check_term,
    generated,
    not_understood,
    position_of,
    read_statement,
    refusal,
)
from keylease.platform.traces.query.statement import RESERVED, Parameters, Statement

TABLES: Final = ("spans", "span_versions")
DEFAULT_ROWS: Final = 1_000
"""Rows of an answer whose statement has no LIMIT of its own."""
MAXIMUM_ROWS: Final = 10_000
MAXIMUM_PARAMETERS: Final = 50
_MAXIMUM_TEXT: Final = 10_000
_MAXIMUM_LIST: Final = 1_000
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "spans": tuple(name for name in SPAN_COLUMNS if name != "organization_id"),
    "span_versions": (
        *(name for name in SPAN_COLUMNS if name != "organization_id"),
        "superseded_by",
    ),
}
Scalar = str | int | float | bool | None
Argument = Scalar | Sequence[Scalar]


class ScopedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that may be run."""

    statement: Statement
    limit: int | None = None
    """The LIMIT that was added; an answer of so many rows may have been cut."""

    def explained(self) -> Statement:
        """The statement that explains how the engine would run this one."""
        return Statement(f"EXPLAIN indexes = 1 {self.statement.sql}", self.statement.parameters)


def scoped_query(
    text: str, scope: Scope, arguments: Mapping[str, Argument] | None = None
) -> ScopedQuery:
    """Read a statement and scope it.

    ``arguments`` are the values of its ``{name:Type}``. Raises ``QueryInvalid`` or
    ``QueryNotAllowed``, with the place in ``text``.
    """
    # 1. Read, and refuse what is not on a list.
    statement = read_statement(text)
    # 2. Know which tables it names.
    names = _own_queries(statement)
    tables = list(statement.find_all(exp.Table))
    for table in tables:
        _check_table(table, names)
    limit = _bounded(statement)
    bound = _arguments(statement, arguments or {})
    # 3. Take the user's texts out, and give every table a name that only this module knows.
    parameters = Parameters()
    _bind_texts(statement, parameters)
    for table in tables:
        _rename(table, names)
    for query in statement.find_all(exp.CTE):
        query.args["alias"].this.set("this", _own_name(query.alias))
    # 4. Generate, and see that it is what was meant.
    sql = _generated(statement)
    # 5. Put the caller's rows in the place of the tables. No text of the user is in the statement
    #    any more, and no name of the user begins like these, so that nothing else is replaced.
    for name in TABLES:
        if (place := _place_of(name)) in sql:
            sql = sql.replace(place, _rows(name, scope, parameters))
    return ScopedQuery(
        statement=Statement(sql, {**bound, **parameters.values()}),
        limit=limit,
    )


def _own_queries(statement: exp.Expr) -> frozenset[str]:
    names: set[str] = set()
    for query in statement.find_all(exp.CTE):
        name = query.alias
        if not name or name in TABLES:
            raise QueryNotAllowed(
                "A query under WITH needs a name that no table has.", position=position_of(query)
            )
        names.add(name)
    return frozenset(names)


def _check_table(table: exp.Table, names: frozenset[str]) -> None:
    if not isinstance(table.this, exp.Identifier):
        raise refusal("a table function", table)
    if table.name not in names and table.name not in TABLES:
        raise QueryNotAllowed(
            "There is no table of this name.",
            position=position_of(table),
            advice=f"Tables are {' and '.join(TABLES)}.",
        )


def _rename(table: exp.Table, names: frozenset[str]) -> None:
    name = table.name
    if not table.args.get("alias"):
        table.set("alias", exp.TableAlias(this=exp.to_identifier(name)))
    new = _own_name(name) if name in names else _place_of(name)
    table.set("this", exp.to_identifier(new))


def _own_name(name: str) -> str:
    """Of a query under WITH: outside of its WITH there is no such table, never another one."""
    return f"{RESERVED}with_{name}"


def _place_of(name: str) -> str:
    return f"{RESERVED}table_{name}_"


def _rows(name: str, scope: Scope, parameters: Parameters) -> str:
    """The caller's rows of a table; columns are qualified, so that no alias can stand for one."""
    row = f"{RESERVED}row"
    columns = COLUMNS[name]
    owner = owner_sql(scope, parameters, alias=row)

    def select(table: str, *conditions: str) -> str:
        shown = ", ".join(
            f"{row}.`{column}` AS `{column}`" for column in columns if column in SPAN_COLUMNS
        )
        if name == "span_versions":
            shown += f", {row}.superseded_by AS superseded_by"
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return select_sql(shown, f"{table} AS {row} FINAL PREWHERE {owner}", where)

    if scope.at is None:
        return f"({select(name)})"
    at = parameters.bind(scope.at, "Int64")
    if name == "span_versions":
        return f"({select(name, f'{row}.superseded_by <= {at}')})"
    superseded = select("span_versions", f"{row}.xact_id <= {at}", f"{row}.superseded_by > {at}")
    both = f"({select('spans', f'{row}.xact_id <= {at}')} UNION ALL {superseded})"
    return f"({select_sql(', '.join(f'`{column}`' for column in columns), both, ONCE)})"


def _bounded(statement: exp.Expr) -> int | None:
    """Add a LIMIT to a statement that has none."""
    limit = statement.args.get("limit")
    if isinstance(statement, exp.Select) and limit is None:
        statement.set("limit", exp.Limit(expression=exp.Literal.number(DEFAULT_ROWS)))
        return DEFAULT_ROWS
    count = limit.expression if isinstance(limit, exp.Limit) else None
    by = isinstance(limit, exp.Limit) and limit.expressions
    if isinstance(count, exp.Literal) and not by and int(float(count.name)) > MAXIMUM_ROWS:
        raise QueryInvalid(
            f"An answer has {MAXIMUM_ROWS:,} rows at most.",
            position=position_of(count),
            advice="Export is made for more.",
        )
    return None


def _bind_texts(statement: exp.Expr, parameters: Parameters) -> None:
    for literal in list(statement.find_all(exp.Literal)):
        if not literal.is_string or isinstance(literal.parent, exp.DataTypeParam):
            continue
        if isinstance(literal.parent, exp.Interval):
            # `INTERVAL 1 DAY` is read as a text; of digits, it may stay.
            if not literal.name.isascii() or not literal.name.isdigit():
                raise refusal("this interval", literal)
            continue
        name = parameters.bind(literal.name, "String")[1:].split(":", maxsplit=1)[0]
        literal.replace(
            exp.Placeholder(
                this=exp.Var(this=name),
                kind=exp.DataType(this=exp.DType.TEXT, nested=False, nullable=False),
            )
        )


def _arguments(statement: exp.Expr, arguments: Mapping[str, Argument]) -> dict[str, object]:
    wanted = {each.this.name: each for each in statement.find_all(exp.Placeholder)}
    if len(wanted) > MAXIMUM_PARAMETERS:
        raise QueryInvalid(f"A statement has {MAXIMUM_PARAMETERS} parameters at most.")
    for name, place in wanted.items():
        if name not in arguments:
            raise QueryInvalid("This parameter has no value.", position=position_of(place))
    if set(arguments) - set(wanted):
        raise QueryInvalid("A value is given for a parameter that the statement does not have.")
    return {name: _checked(value) for name, value in arguments.items()}


def _checked(value: Argument) -> object:
    if isinstance(value, str):
        if len(value) > _MAXIMUM_TEXT or "\0" in value:
            raise QueryInvalid(f"A value has {_MAXIMUM_TEXT:,} characters at most.")
        return value
    if isinstance(value, Sequence):
        if len(value) > _MAXIMUM_LIST:
            raise QueryInvalid(f"A list of values has {_MAXIMUM_LIST:,} at most.")
        return [_checked(each) for each in value]
    return value


def _generated(statement: exp.Expr) -> str:
    """The statement as SQL, which must be read as the same statement."""
    sql = generated(statement)
    try:
        again = UserSql().parse(sql)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise not_understood() from error
    if len(again) != 1 or again[0] is None or _bare(again[0]) != _bare(statement):
        raise not_understood()
    for term in again[0].walk():
        if not _is_ours(term):
            check_term(term)
    return sql


def _is_ours(term: exp.Expr) -> bool:
    """Names and parameters that were put in by step 3, and are refused when a user writes them."""
    return isinstance(term, exp.Identifier | exp.Placeholder) and term.name.startswith(RESERVED)


def _bare(statement: exp.Expr) -> exp.Expr:
    """Without parentheses, of which the generator adds some that change nothing."""
    bare: exp.Expr = statement.transform(
        lambda term: term.this if isinstance(term, exp.Paren) else term
    )
    return bare
