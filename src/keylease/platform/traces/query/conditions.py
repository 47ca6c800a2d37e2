"""Reads one condition of a filter: a target, an operator, and values of the target's type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keylease.errors import QueryInvalid
from keylease.platform.traces.query import literals
from keylease.platform.traces.query.fields import (
    Field,
    FieldType,
    field_named,
    nearest_names,
)
from keylease.platform.traces.query.lexer import Token, TokenKind
from keylease.platform.traces.query.patterns import check_pattern
from keylease.platform.traces.query.syntax import (
    AttributeTarget,
    Compare,
    Contains,
    Exists,
    Expression,
    FieldTarget,
    HasTag,
    Matches,
    MetadataTarget,
    Not,
    Operator,
    ScoreTarget,
    Target,
    Value,
)

MAXIMUM_VALUES: Final = 500
"""Values of one ``in``."""
MAXIMUM_STEPS: Final = 32
"""Steps of one path."""
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")
_ORDERED: Final = {FieldType.NUMBER, FieldType.DURATION, FieldType.MONEY, FieldType.TIME}
_TEXTUAL: Final = {FieldType.TEXT, FieldType.CHOICE}
_RESERVED: Final = ("and", "or", "not", "in")


class ConditionReader:
    """Holds the tokens and the place among them."""

    def __init__(self, tokens: list[Token], now: int) -> None:
        self._tokens = tokens
        self._index = 0
        self._now = now

    def peek(self, ahead: int = 0) -> Token:
        """The token that comes next, or one behind it."""
        return self._tokens[min(self._index + ahead, len(self._tokens) - 1)]

    def take(self) -> Token:
        """Go past the next token."""
        token = self.peek()
        self._index += 1
        return token

    def expect(self, symbol: str, message: str) -> Token:
        """Go past this symbol."""
        token = self.take()
        if not token.is_symbol(symbol):
            raise QueryInvalid(message, position=token.position, advice=f"Expected `{symbol}`.")
        return token

    def condition(self) -> Expression:
        """One condition."""
        start = self.peek()
        target = self.target()
        token = self.take()
        if token.is_symbol(*_COMPARISONS):
            return self._comparison(target, token)
        if token.is_word("not") and self.peek().is_word("in"):
            self.take()
            return Not(self.membership(target))
        read = _OPERATORS.get(token.text.lower()) if token.kind is TokenKind.WORD else None
        if read is not None:
            return read(self, target, token)
        if _type(target) is FieldType.BOOLEAN:
            self._index -= 1
            return Compare(target, Operator.EQUAL, (True,))
        raise QueryInvalid(
            "A comparison is missing here.",
            position=token.position if token.kind is not TokenKind.END else start.position,
            advice="After a name comes =, !=, <, <=, >, >=, in, contains, matches, has, exists or "
            "missing.",
        )

    def target(self) -> Target:
        """A field, or a path to a value."""
        token = self.take()
        if token.kind is not TokenKind.WORD or token.is_word(*_RESERVED):
            raise QueryInvalid("The name of a field is expected here.", position=token.position)
        steps = self._steps()
        match token.text:
            case "attributes" | "resource" if steps:
                return AttributeTarget(token.text, ".".join(steps))
            case "metadata" if steps:
                return MetadataTarget(tuple(steps))
            case "scores" if steps:
                return ScoreTarget(".".join(steps))
            case "attributes" | "resource" | "metadata" | "scores":
                raise QueryInvalid(
                    "The name of the value is missing.",
                    position=token.position + len(token.text),
                    advice='Such as attributes.customer or attributes["customer.id"].',
                )
        field = field_named(token.text)
        if field is None:
            raise _unknown_name(token)
        if steps:
            raise QueryInvalid(
                "This field has no parts.",
                position=token.position + len(token.text),
                advice="Parts have attributes, resource, metadata and scores.",
            )
        return FieldTarget(field)

    def _steps(self) -> list[str]:
        steps: list[str] = []
        while self.peek().is_symbol(".", "["):
            if len(steps) == MAXIMUM_STEPS:
                raise QueryInvalid(
                    f"The path has more than {MAXIMUM_STEPS} steps.", position=self.peek().position
                )
            opening = self.take()
            step = self.take()
            if opening.text == "." and step.kind in {TokenKind.WORD, TokenKind.NUMBER}:
                steps.extend(step.text.split("."))  # `0.name` is one token
            elif opening.text == "[" and step.kind is TokenKind.STRING and step.text:
                steps.append(step.text)
                self.expect("]", "The bracket is not closed.")
            else:
                raise QueryInvalid(
                    "A name is expected here.",
                    position=step.position,
                    advice='Such as .customer or ["customer id"].',
                )
        return steps

    def _comparison(self, target: Target, operator: Token) -> Expression:
        value_token = self.peek()
        value = self._value(target)
        if operator.text in {"=", "!="}:
            equal = Compare(target, Operator.EQUAL, (value,))
            return equal if operator.text == "=" else Not(equal)
        kind = _type(target)
        ordered = kind in _ORDERED or (
            kind is None and isinstance(value, int | float) and not isinstance(value, bool)
        )
        if not ordered:
            raise QueryInvalid(
                "Only numbers, durations, money and times have an order.",
                position=operator.position if kind is not None else value_token.position,
                advice="Use =, !=, in, contains or matches.",
            )
        return Compare(target, Operator(operator.text), (value,))

    def membership(self, target: Target, _: Token | None = None) -> Expression:
        """What follows ``in``."""
        self.expect("(", "A list of values is expected here.")
        values = [self._value(target)]
        while self.peek().is_symbol(","):
            comma = self.take()
            if len(values) == MAXIMUM_VALUES:
                raise QueryInvalid(
                    f"The list has more than {MAXIMUM_VALUES} values.", position=comma.position
                )
            values.append(self._value(target))
        self.expect(")", "The list is not closed.")
        # By type as well: true and 1 are equal in Python, and not in a filter.
        different = dict.fromkeys((type(value), value) for value in values)
        return Compare(target, Operator.EQUAL, tuple(value for _, value in different))

    def search(self, target: Target, operator: Token) -> Expression:
        """What follows ``contains`` or ``matches``."""
        kind = _type(target)
        if isinstance(target, ScoreTarget) or (kind is not None and kind not in _TEXTUAL):
            advice = 'Tags are found with: tags has "..."' if kind is FieldType.TAGS else ""
            raise QueryInvalid("This field is no text.", position=operator.position, advice=advice)
        token = self.take()
        if token.kind not in {TokenKind.STRING, TokenKind.WORD}:
            raise QueryInvalid("A text is expected here.", position=token.position)
        if operator.is_word("contains"):
            return Contains(target, token.text)
        return Matches(target, check_pattern(token.text, position=token.position))

    def existence(self, target: Target, operator: Token) -> Expression:
        """``exists`` or ``missing``."""
        found = Exists(target)
        return found if operator.is_word("exists") else Not(found)

    def has(self, target: Target, operator: Token) -> Expression:
        """What follows ``has``."""
        if _type(target) is not FieldType.TAGS:
            raise QueryInvalid("Only tags have members.", position=operator.position)
        token = self.take()
        if token.kind not in {TokenKind.STRING, TokenKind.WORD}:
            raise QueryInvalid("A tag is expected here.", position=token.position)
        return HasTag(token.text)

    def _value(self, target: Target) -> Value:
        token = self.take()
        if token.is_word("null", "none", "unknown") and _type(target) not in _TEXTUAL:
            raise QueryInvalid(
                "Nothing is compared with null.",
                position=token.position,
                advice="Use `exists` or `missing`.",
            )
        if isinstance(target, FieldTarget):
            return self._field_value(target.field, token)
        return literals.number(token) if isinstance(target, ScoreTarget) else _open_value(token)

    def _field_value(self, field: Field, token: Token) -> Value:
        match field.type:
            case FieldType.TIME:
                return literals.time(token, now=self._now)
            case FieldType.MONEY:
                micros = literals.money(token)
                if self.peek().is_word("usd"):
                    self.take()
                return micros
            case FieldType.CHOICE:
                return _choice(token, field)
            case FieldType.TAGS:
                raise QueryInvalid(
                    "Tags are not compared.", position=token.position, advice='Use tags has "...".'
                )
            case _:
                return _READERS[field.type](token)


def _type(target: Target) -> FieldType | None:
    return target.field.type if isinstance(target, FieldTarget) else None


def _unknown_name(token: Token) -> QueryInvalid:
    near = " or ".join(f"`{name}`" for name in nearest_names(token.text))
    return QueryInvalid(
        "There is no field of this name.",
        position=token.position,
        advice=f"Did you mean {near}?"
        if near
        else 'Attributes are named as attributes.name or attributes["name"].',
    )


def _text(token: Token) -> str:
    if token.kind in {TokenKind.STRING, TokenKind.WORD}:
        return token.text
    raise QueryInvalid(
        "A text is expected here.", position=token.position, advice="A text stands in quotes."
    )


def _choice(token: Token, field: Field) -> str:
    text = _text(token)
    if text not in field.choices:
        raise QueryInvalid(
            "The field never has this value.",
            position=token.position,
            advice=f"It is one of {', '.join(field.choices)}.",
        )
    return text


def _truth(token: Token) -> bool:
    if token.is_word("true", "false"):
        return token.text.lower() == "true"
    raise QueryInvalid("`true` or `false` is expected here.", position=token.position)


def _open_value(token: Token) -> Value:
    if token.is_word("true", "false"):
        return _truth(token)
    if token.kind is TokenKind.NUMBER:
        return literals.number(token)
    return _text(token)


_READERS: Final[dict[FieldType, Callable[[Token], Value]]] = {
    FieldType.NUMBER: literals.number,
    FieldType.DURATION: literals.duration,
    FieldType.BOOLEAN: _truth,
    FieldType.TEXT: _text,
}
_OPERATORS: Final[dict[str, Callable[[ConditionReader, Target, Token], Expression]]] = {
    "in": ConditionReader.membership,
    "contains": ConditionReader.search,
    "matches": ConditionReader.search,
    "has": ConditionReader.has,
    "exists": ConditionReader.existence,
    "missing": ConditionReader.existence,
}
