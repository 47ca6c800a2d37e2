"""Tokens of the filter language, with their places. One pass, one regular expression."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

from keylease.errors import QueryInvalid

MAXIMUM_LENGTH: Final = 10_000
"""Characters of a filter."""
MAXIMUM_TOKENS: Final = 2_000
_ESCAPES: Final = {'"': '"', "'": "'", "\\": "\\", "/": "/", "n": "\n", "r": "\r", "t": "\t"}
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<time>\d{4}-\d{2}-\d{2}
        (?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})?)?(?![\w:]))
  | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+(?![A-Za-z]))?[A-Za-z0-9.\u00b5\u03bc]*)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:[-+][A-Za-z0-9_]+)*)
  | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<symbol><=|>=|!=|[=<>()\[\],.:])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class TokenKind(StrEnum):
    """What a token is."""

    WORD = "word"
    STRING = "string"
    NUMBER = "number"
    TIME = "time"
    SYMBOL = "symbol"
    END = "end"


class Token(msgspec.Struct, frozen=True):
    """One token; ``text`` of a string is what it means, without quotes and escapes."""

    kind: TokenKind
    text: str
    position: int

    def is_symbol(self, *symbols: str) -> bool:
        """Whether it is one of these symbols."""
        return self.kind is TokenKind.SYMBOL and self.text in symbols

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words, in any case."""
        return self.kind is TokenKind.WORD and self.text.lower() in words


def tokenize(text: str) -> list[Token]:
    """All tokens and the end. Raises ``QueryInvalid`` with the place."""
    if len(text) > MAXIMUM_LENGTH:
        raise QueryInvalid(
            f"The filter is longer than {MAXIMUM_LENGTH:,} characters.", position=MAXIMUM_LENGTH
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        kind = str(match.lastgroup)
        if kind == "string":
            tokens.append(Token(TokenKind.STRING, _unescaped(match.group(), position), position))
        elif kind != "space":
            tokens.append(Token(TokenKind(kind), match.group(), position))
        if len(tokens) > MAXIMUM_TOKENS:
            raise QueryInvalid(
                f"The filter has more than {MAXIMUM_TOKENS:,} parts.", position=position
            )
        position = match.end()
    tokens.append(Token(TokenKind.END, "", len(text)))
    return tokens


def _unreadable(text: str, position: int) -> QueryInvalid:
    if text[position] in "\"'":
        return QueryInvalid("The text that begins here has no end.", position=position)
    return QueryInvalid(
        "This character means nothing here.",
        position=position,
        advice='Texts with special characters stand in quotes; other names as attributes["..."].',
    )


def _unescaped(quoted: str, position: int) -> str:
    if _SURROGATE.search(quoted):
        raise QueryInvalid("The text is not valid Unicode.", position=position)
    inner = quoted[1:-1]
    if "\\" not in inner:
        return inner
    parts: list[str] = []
    index = 0
    while index < len(inner):
        character = inner[index]
        if character != "\\":
            parts.append(character)
            index += 1
            continue
        escape = inner[index + 1]
        if escape in _ESCAPES:
            parts.append(_ESCAPES[escape])
            index += 2
            continue
        digits = inner[index + 2 : index + 6]
        if escape != "u" or not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise QueryInvalid(
                "This escape is not known.",
                position=position + 1 + index,
                advice=r"Known are \" \' \\ \/ \n \r \t and \uXXXX.",
            )
        code = int(digits, 16)
        if _SURROGATE.match(chr(code)):
            raise QueryInvalid(
                "This escape is half of a character.",
                position=position + 1 + index,
                advice="Write the character itself.",
            )
        parts.append(chr(code))
        index += 6
    return "".join(parts)
