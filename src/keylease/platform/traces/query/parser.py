"""The parser of the filter language: recursive descent, linear in the length of the text.

    filter     = [ either ]
    either     = both { "or" both }
    both       = negation { "and" negation }
    negation   = { "not" } atom
    atom       = "(" either ")" | words | condition
    words      = ( "text" | "input" | "output" ) ":" STRING
    condition  = target ( comparison | membership | "contains" STRING | "matches" STRING
                        | "has" value | "exists" | "missing" ) | boolean field
    comparison = ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
    membership = [ "not" ] "in" "(" value { "," value } ")"
    target     = NAME { "." NAME | "[" STRING "]" }

``docs/reference/query.md`` says what each means. What is repeated of a filter in an error is its
position only: a filter could hold what somebody should not have pasted into it.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import QueryInvalid
from keylease.platform.traces.query.conditions import ConditionReader
from keylease.platform.traces.query.fields import WORD_SEARCHES
from keylease.platform.traces.query.lexer import Token, TokenKind, tokenize
from keylease.platform.traces.query.syntax import All, Any, Expression, Not, Target, Words
from keylease.platform.traces.query.words import split_words

MAXIMUM_DEPTH: Final = 40
"""Parentheses within one another."""
MAXIMUM_WORDS: Final = 64
"""Different words of one search; the engine takes no more."""


def parse_filter(text: str, *, now: int) -> Expression:
    """Parse a filter; an empty one selects everything. ``now`` is in microseconds UTC.

    Raises ``QueryInvalid`` with the position of the character, from 0.
    """
    parser = _Parser(tokenize(text), now)
    if parser.peek().kind is TokenKind.END:
        return All()
    expression = parser.either(0)
    left = parser.peek()
    if left.kind is not TokenKind.END:
        raise QueryInvalid(
            "The filter should end here, or go on with `and` or `or`.",
            position=left.position,
            advice="A text of several words stands in quotes.",
        )
    return expression


def parse_target(text: str) -> Target:
    """Parse what stands before an operator: a field, or a path to an attribute.

    Raises ``QueryInvalid``.
    """
    parser = _Parser(tokenize(text), 0)
    target = parser.target()
    left = parser.peek()
    if left.kind is not TokenKind.END:
        raise QueryInvalid("The name should end here.", position=left.position)
    return target


class _Parser(ConditionReader):
    def either(self, depth: int) -> Expression:
        parts = [self._both(depth)]
        while self.peek().is_word("or"):
            self.take()
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self, depth: int) -> Expression:
        parts = [self._negation(depth)]
        while self.peek().is_word("and"):
            self.take()
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _negation(self, depth: int) -> Expression:
        negated = False
        while self.peek().is_word("not"):
            self.take()
            negated = not negated
        part = self._atom(depth)
        return Not(part) if negated else part

    def _atom(self, depth: int) -> Expression:
        token = self.peek()
        if token.is_symbol("("):
            return self._group(token, depth)
        if token.kind is TokenKind.STRING:
            raise QueryInvalid(
                "A text alone is no condition.",
                position=token.position,
                advice='Search it with text:"...".',
            )
        if token.kind is TokenKind.WORD and self.peek(1).is_symbol(":"):
            return self._words(token)
        return self.condition()

    def _group(self, opening: Token, depth: int) -> Expression:
        if depth >= MAXIMUM_DEPTH:
            raise QueryInvalid(
                f"The parentheses are deeper than {MAXIMUM_DEPTH}.", position=opening.position
            )
        self.take()
        part = self.either(depth + 1)
        self.expect(")", "The parenthesis is not closed.")
        return part

    def _words(self, name: Token) -> Expression:
        columns = WORD_SEARCHES.get(name.text)
        if columns is None:
            raise QueryInvalid(
                "Words are searched in `text`, `input` or `output`.", position=name.position
            )
        self.take()
        self.take()
        value = self.take()
        if value.kind is not TokenKind.STRING:
            raise QueryInvalid("The words stand in quotes.", position=value.position)
        words = split_words(value.text)
        if not words:
            raise QueryInvalid("There is no word to search for.", position=value.position)
        if len(words) > MAXIMUM_WORDS:
            raise QueryInvalid(f"More than {MAXIMUM_WORDS} words.", position=value.position)
        return Words(columns=columns, words=words)
