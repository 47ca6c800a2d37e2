"""Reads a statement of a user and refuses everything that is not on a list.

1. Bounds: length, tokens, depth.
2. One statement, as sqlglot's ClickHouse grammar reads it, and it is a query.
3. Nothing that was written is missing when it is generated again.
4. Every term, every argument, every function, type and plain word is on its list (``grammar``,
   ``functions``); every name consists of plain ASCII characters.

Errors give the place and never repeat the statement: it could hold what should not be in a log.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from keylease.errors import QueryInvalid, QueryNotAllowed
from keylease.platform.traces.query.sql import grammar
from keylease.platform.traces.query.sql.dialect import UserSql
from keylease.platform.traces.query.sql.functions import is_allowed, nearest_function
from keylease.platform.traces.query.statement import RESERVED

MAXIMUM_LENGTH: Final = 20_000
"""Characters of a statement."""
MAXIMUM_TOKENS: Final = 4_000
MAXIMUM_DEPTH: Final = 30
"""Parentheses and brackets within one another."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_ .-]{0,127}", re.ASCII)
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,4})?|\.\d{1,40}", re.ASCII)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,16}")
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}", re.ASCII)
_OPENING: Final = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSING: Final = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}
_WRITTEN: Final = {TokenType.STRING, TokenType.NUMBER, TokenType.VAR, TokenType.IDENTIFIER}
_QUERIES: Final = (exp.Select, exp.SetOperation, exp.Subquery)


def read_statement(text: str) -> exp.Expr:
    """Parse and check. Raises ``QueryInvalid`` or ``QueryNotAllowed`` with the place."""
    tokens = _tokens(text)
    statement = _parse(tokens, text)
    for term in statement.walk():
        check_term(term)
    if written_words(tokens) - written_words(_tokens(generated(statement))):
        raise not_understood()
    return statement


def generated(statement: exp.Expr) -> str:
    """The statement as SQL, without its comments."""
    try:
        return statement.sql(dialect=UserSql, comments=False, unsupported_level=ErrorLevel.RAISE)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise not_understood() from error


def written_words(tokens: list[Token]) -> Counter[str]:
    """Names, numbers and texts: what a statement must still have when it is generated again."""
    return Counter(token.text.casefold() for token in tokens if token.token_type in _WRITTEN)


def not_understood() -> QueryNotAllowed:
    """Say that a statement would not be run as it was written."""
    return QueryNotAllowed(
        "The statement has a part that is not understood well enough to be run.",
        advice="Write it more simply; conditions as if(...), whole divisions as intDiv(...).",
    )


def _tokens(text: str) -> list[Token]:
    if len(text) > MAXIMUM_LENGTH:
        raise QueryInvalid(
            f"The statement is longer than {MAXIMUM_LENGTH:,} characters.", position=MAXIMUM_LENGTH
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise QueryInvalid("The statement is not plain text.")
    try:
        tokens: list[Token] = UserSql().tokenize(text)
    except (TokenError, ValueError) as error:
        raise QueryInvalid(
            "The statement cannot be read.", advice="A text or a comment has no end, perhaps."
        ) from error
    _check_tokens(tokens)
    return tokens


def _parse(tokens: list[Token], text: str) -> exp.Expr:
    try:
        parsed = [each for each in UserSql().parser().parse(tokens, text) if each is not None]
    except ParseError as error:
        raise QueryInvalid(
            "This is no query that can be read.",
            position=_place(text, error),
            advice="One SELECT of ClickHouse's SQL; docs/reference/query.md says what it may have.",
        ) from error
    except (RecursionError, ValueError) as error:
        raise QueryInvalid("The statement cannot be read.") from error
    if len(parsed) != 1:
        raise QueryInvalid("Exactly one statement is expected.")
    if not isinstance(parsed[0], _QUERIES):
        raise QueryNotAllowed(
            "Only queries that begin with SELECT or WITH are allowed.", position=0
        )
    return parsed[0]


def _check_tokens(tokens: list[Token]) -> None:
    if len(tokens) > MAXIMUM_TOKENS:
        raise QueryInvalid(
            f"The statement has more than {MAXIMUM_TOKENS:,} parts.",
            position=tokens[MAXIMUM_TOKENS].start,
        )
    depth = 0
    for token in tokens:
        if token.token_type in _OPENING or token.token_type is TokenType.CASE:
            depth += 1
        elif token.token_type in _CLOSING or token.token_type is TokenType.END:
            depth -= 1
        if depth > MAXIMUM_DEPTH:
            raise QueryInvalid(
                f"The parentheses are deeper than {MAXIMUM_DEPTH}.", position=token.start
            )


def check_term(term: exp.Expr) -> None:
    """Refuse a term that is not on the list, or that has what is not on it."""
    allowed = grammar.TERMS.get(type(term))
    if allowed is None:
        raise refusal(_said(term), term)
    for name, value in term.args.items():
        if value in (None, False, [], ""):
            continue
        if name not in allowed:
            raise refusal(f"{_said(term)} with {name.strip('_').replace('_', ' ')}", term)
        if isinstance(value, str):
            _check_word(term, name, value)
    _check_kind(term)


def _check_word(term: exp.Expr, name: str, value: str) -> None:
    """An argument that is a text: a name, a number, or one of a few words."""
    if isinstance(term, exp.Identifier):
        _check_name(term, value)
    elif isinstance(term, grammar.FUNCTIONS):
        _check_function(value, term)
    elif isinstance(term, exp.Literal | exp.HexString):
        _check_literal(term, value)
    elif isinstance(term, exp.Var) and isinstance(term.parent, exp.Placeholder):
        return  # checked with its placeholder
    elif value.upper() not in grammar.WORDS:
        raise refusal(f"{_said(term)} with {name}", term)


def _check_name(term: exp.Identifier, value: str) -> None:
    if not _NAME.fullmatch(value):
        raise QueryNotAllowed(
            "Names consist of ASCII letters, digits, _, -, . and spaces.",
            position=position_of(term),
        )
    if value.lower().startswith(RESERVED):
        raise QueryNotAllowed(
            f"Names that begin with {RESERVED} are reserved.", position=position_of(term)
        )


def _check_literal(term: exp.Literal | exp.HexString, value: str) -> None:
    if isinstance(term, exp.Literal) and term.is_string:
        return  # becomes a parameter
    pattern = _NUMBER if isinstance(term, exp.Literal) else _HEX
    if not pattern.fullmatch(value):
        raise refusal("this number", term)


def _check_function(name: str, term: exp.Expr) -> None:
    if is_allowed(name):
        return
    near = nearest_function(name)
    raise QueryNotAllowed(
        "This function is not on the list of functions.",
        position=position_of(term),
        advice=f"Did you mean {near}? Names are as ClickHouse writes them." if near else "",
    )


def _check_kind(term: exp.Expr) -> None:
    """What the lists of terms and arguments do not say."""
    for kind, check in _CHECKS:
        if isinstance(term, kind):
            check(term)


def _check_call(term: exp.Expr) -> None:
    if not isinstance(term.this, str):
        raise refusal("a function in quotes", term)


def _check_type(term: exp.Expr) -> None:
    if term.this not in grammar.TYPES:
        raise refusal("this type", term)


def _check_type_argument(term: exp.Expr) -> None:
    literal = term.this
    if isinstance(literal, exp.Literal):
        pattern = _ZONE if literal.is_string else _NUMBER
        if pattern.fullmatch(literal.name):
            return
    raise refusal("this type", term)


def _check_interval(term: exp.Expr) -> None:
    if not isinstance(term.args.get("unit"), exp.Var):
        raise refusal("this interval", term)


def _check_query(term: exp.Expr) -> None:
    if not isinstance(term.this, _QUERIES):
        raise refusal("a value under WITH or as a table", term)


def _check_column(term: exp.Expr) -> None:
    if not isinstance(term.this, exp.Identifier | exp.Star):
        raise refusal("this name", term)


def _check_in(term: exp.Expr) -> None:
    """``x IN name`` reads any table of that name that there is, and so does ``x IN (name)``.

    Only a list of values, a query or a parameter may follow.
    """
    field, query = term.args.get("field"), term.args.get("query")
    named = field if not isinstance(field, exp.Placeholder) else None
    if query is not None and not isinstance(query, _QUERIES):
        named = query
    for value in term.expressions:
        # No name at all, however wrapped: which of them the engine takes for a table is its own.
        named = named or _name_in(value)
    if named is not None:
        raise QueryNotAllowed(
            "After IN comes a list of values in parentheses, a query or a parameter.",
            position=position_of(named),
            advice="For arrays and columns there is has([...], value); for one value there is =.",
        )


def _name_in(value: exp.Expr) -> exp.Expr | None:
    """A name that stands in a list of values outside of sub-queries."""
    inside = value.walk(prune=lambda term: isinstance(term, exp.Query))
    return next((term for term in inside if isinstance(term, exp.Column | exp.Identifier)), None)


def _check_join(term: exp.Expr) -> None:
    array = str(term.args.get("kind") or "").upper() == "ARRAY"
    tabular = isinstance(term.this, exp.Table | exp.Subquery)
    if array == tabular:
        raise refusal("this join", term)


def _check_placeholder(term: exp.Expr) -> None:
    name = term.this.name if isinstance(term.this, exp.Var) else ""
    if not _PARAMETER.fullmatch(name) or name.lower().startswith(RESERVED):
        raise refusal("this name of a parameter", term)
    if not isinstance(term.args.get("kind"), exp.DataType):
        raise refusal("a parameter of this type", term)


def refusal(what: str, term: exp.Expr) -> QueryNotAllowed:
    """Say that something is not on the list, and where it stands."""
    return QueryNotAllowed(
        f"Not allowed in a query: {what}.",
        position=position_of(term),
        advice="docs/reference/query.md lists what a query may have.",
    )


def position_of(term: exp.Expr) -> int | None:
    """The character at which a term stands, as near as sqlglot remembers."""
    starts = [each.meta["start"] for each in term.walk() if "start" in each.meta]
    if starts:
        return int(min(starts))
    above = term.parent
    while above is not None:
        if "start" in above.meta:
            return int(above.meta["start"])
        above = above.parent
    return None


def _said(term: exp.Expr) -> str:
    """A term in the words of SQL, near enough: ``ArrayJoin`` is ``array join``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(term).__name__).lower()


def _place(text: str, error: ParseError) -> int | None:
    if not error.errors:
        return None
    first = error.errors[0]
    line, column = first.get("line"), first.get("col")
    if not line or not column:
        return None
    start = 0
    for _ in range(int(line) - 1):
        start = text.find("\n", start) + 1
    marked = len(str(first.get("highlight") or ""))
    return max(0, min(len(text), start + int(column) - marked))


_CHECKS: Final[
    Sequence[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[[exp.Expr], None]]]
] = (
    (grammar.FUNCTIONS, _check_call),
    (exp.Column, _check_column),
    (exp.In, _check_in),
    (exp.Join, _check_join),
    (exp.Placeholder, _check_placeholder),
    (exp.DataType, _check_type),
    (exp.DataTypeParam, _check_type_argument),
    (exp.Interval, _check_interval),
    ((exp.CTE, exp.Subquery), _check_query),
)
