"""Which parts of SQL a statement of a user may consist of: an allow-list of sqlglot's terms.

A term is allowed with the arguments named here and no others, so that what a later version of
sqlglot begins to understand is refused until somebody has looked at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BINARY: Final = frozenset({"this", "expression"})
_ONE: Final = frozenset({"this"})
_MANY: Final = frozenset({"expressions"})

TERMS: Final[Mapping[type[exp.Expr], frozenset[str]]] = {
    # --- statements
    exp.Select: _names(
        "with_ expressions distinct from_ joins where group having qualify windows order limit "
        "offset"
    ),
    exp.Union: _names("this expression distinct with_ order limit offset"),
    exp.Intersect: _names("this expression distinct with_"),
    exp.Except: _names("this expression distinct with_"),
    exp.With: _MANY,
    exp.CTE: frozenset({"this", "alias"}),
    exp.Subquery: frozenset({"this", "alias"}),
    exp.From: _ONE,
    exp.Table: frozenset({"this", "alias"}),
    exp.TableAlias: _ONE,
    exp.Join: _names("this side kind on using"),
    exp.Where: _ONE,
    exp.Group: _names("expressions totals all rollup cube"),
    exp.Rollup: _MANY,
    exp.Cube: _MANY,
    exp.Having: _ONE,
    exp.Qualify: _ONE,
    exp.Order: _MANY,
    exp.Ordered: _names("this desc nulls_first"),
    exp.Limit: frozenset({"expression", "expressions"}),
    exp.Offset: frozenset({"expression", "expressions"}),
    exp.Distinct: _MANY,
    # --- values
    exp.Alias: frozenset({"this", "alias"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Star: frozenset({"except_"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.HexString: frozenset({"this", "is_integer"}),
    exp.Boolean: _ONE,
    exp.Null: frozenset(),
    exp.Placeholder: frozenset({"this", "kind"}),
    exp.Var: _ONE,
    exp.Array: frozenset({"expressions", "bracket_notation"}),
    exp.Tuple: _MANY,
    exp.Paren: _ONE,
    exp.Bracket: frozenset({"this", "expressions", "offset", "safe", "returns_list_for_maps"}),
    exp.Interval: frozenset({"this", "unit"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.DataType: frozenset({"this", "expressions", "nested", "nullable"}),
    exp.DataTypeParam: _ONE,
    exp.Lambda: frozenset({"this", "expressions"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true"}),
    # --- functions, looked up by name
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.AnonymousAggFunc: frozenset({"this", "expressions"}),
    exp.CombinedAggFunc: frozenset({"this", "expressions"}),
    exp.ParameterizedAgg: frozenset({"this", "expressions", "params"}),
    exp.CombinedParameterizedAgg: frozenset({"this", "expressions", "params"}),
    exp.Exists: _ONE,
    exp.Filter: _BINARY,
    exp.Window: _names("this partition_by order spec alias over first"),
    exp.WindowSpec: _names("kind start start_side end end_side"),
    # --- operators
    **dict.fromkeys(
        (
            exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT,
            exp.GTE, exp.LT, exp.LTE, exp.Like, exp.ILike, exp.DPipe, exp.Is,
        ),
        _BINARY | {"typed", "safe", "coalesce", "negate"},
    ),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "query", "field"}),
    exp.Not: _ONE,
    exp.Neg: _ONE,
}  # fmt: skip

FUNCTIONS: Final = (
    exp.Anonymous,
    exp.AnonymousAggFunc,
    exp.CombinedAggFunc,
    exp.ParameterizedAgg,
    exp.CombinedParameterizedAgg,
)
WORDS: Final = _names(
    """
    LEFT RIGHT FULL INNER OUTER CROSS ARRAY SEMI ANTI ANY ROWS RANGE UNBOUNDED PRECEDING FOLLOWING
    OVER SECOND MINUTE HOUR DAY WEEK MONTH QUARTER YEAR
    """
) | {"CURRENT ROW"}
"""What an argument that is a plain word may be: kinds of joins, frames and intervals."""
TYPES: Final = frozenset(
    {
        exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.BOOLEAN, exp.DType.DATE, exp.DType.DATE32,
        exp.DType.DATETIME, exp.DType.DATETIME64, exp.DType.UUID, exp.DType.ARRAY,
        exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT,
        exp.DType.UTINYINT, exp.DType.USMALLINT, exp.DType.UINT, exp.DType.UBIGINT,
        exp.DType.FLOAT, exp.DType.DOUBLE,
    }
)  # fmt: skip
"""Types of casts and parameters."""
