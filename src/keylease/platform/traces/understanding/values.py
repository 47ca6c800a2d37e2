"""Reads attribute values that may have any type. Nothing here raises; what does not fit is absent.

Whatever is returned as JSON is valid JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

_LARGEST_COUNT: Final = 10**12
"""Of tokens, microseconds (11 days) or micro-USD: more is a mistake, and sums must not overflow."""
_LARGEST_USD: Final = 1_000_000.0
_LONGEST_NUMBER: Final = 32
_MICRO: Final = 1_000_000
_MAY_BE_JSON: Final = frozenset('{["0123456789-tfn')
_CONTAINER: Final = frozenset("{[")
_WHITE: Final = " \t\r\n"

_encoder: Final = msgspec.json.Encoder()
_decode: Final = msgspec.json.Decoder().decode
_check: Final = msgspec.json.Decoder(msgspec.Raw).decode
_UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeEncodeError, RecursionError)
_UNWRITABLE: Final = '"[cannot be written as JSON]"'
_UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)


def json_of(value: object) -> str:
    """Write a value as JSON."""
    try:
        return _encoder.encode(value).decode()
    except _UNENCODABLE:  # nested beyond what can be written, or no UTF-8
        return _UNWRITABLE


def each_as_json(values: Mapping[str, object]) -> dict[str, str]:
    """Write each value as JSON."""
    encode = _encoder.encode
    try:
        return {name: encode(value).decode() for name, value in values.items()}
    except _UNENCODABLE:  # one of them; find out which
        return {name: json_of(value) for name, value in values.items()}


def decoded(value: object) -> object:
    """What a JSON text says, or the value itself when it is no text; ``None`` for other texts."""
    if not isinstance(value, str):
        return value
    try:
        return _decode(value)
    except _UNDECODABLE:
        return None


def as_json(value: object) -> str:
    """Take a text that is a JSON object or list as it is; write everything else as JSON."""
    if isinstance(value, str) and is_json(value, _CONTAINER):
        return value
    return json_of(value)


def any_json(value: object) -> str:
    """Take a text that is JSON of any kind as it is; write everything else as JSON."""
    if isinstance(value, str) and is_json(value, _MAY_BE_JSON):
        return value
    return json_of(value)


def is_json(value: str, starts: frozenset[str] = _MAY_BE_JSON) -> bool:
    """Whether a text is JSON that begins with one of these characters."""
    if value[:1] not in starts and value.lstrip(_WHITE)[:1] not in starts:
        return False
    try:
        _check(value)
    except _UNDECODABLE:
        return False
    return True


def text(value: object) -> str:
    """A text; numbers are written out, anything else is absent."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json_of(value)
    return ""


def count(value: object) -> int | None:
    """A number of things: a whole number from 0 on, also as a float or as a text."""
    if isinstance(value, str):
        if not value.isascii() or not value.isdigit() or len(value) > _LONGEST_NUMBER:
            return None
        value = int(value)
    elif isinstance(value, bool):
        return None
    elif isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= _LARGEST_COUNT else None


def number(value: object) -> float | None:
    """A finite number, also as a text."""
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER:
            return None
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if found - found == 0 else None  # neither NaN nor infinite


def microseconds(value: object, *, per: float) -> int | None:
    """A duration given in units of ``per`` microseconds."""
    found = number(value)
    if found is None or found < 0 or found * per > _LARGEST_COUNT:
        return None
    return round(found * per)


def micro_usd(value: object) -> int | None:
    """An amount given in USD."""
    found = number(value)
    return None if found is None or not 0 <= found <= _LARGEST_USD else round(found * _MICRO)


def texts(value: object) -> list[str]:
    """A list of texts, also as JSON or as one text."""
    if isinstance(value, str):
        inner = decoded(value) if value[:1] == "[" else None
        value = inner if isinstance(inner, list) else [value]
    if not isinstance(value, (list, tuple)):
        return []
    return [item for item in value if isinstance(item, str) and item]


def scores(value: object) -> dict[str, float]:
    """An object of numbers, also as JSON; booleans count as 0 and 1."""
    value = decoded(value)
    if not isinstance(value, dict):
        return {}
    found = {
        name: float(score) if isinstance(score, bool) else number(score)
        for name, score in value.items()
        if isinstance(name, str) and name
    }
    return {name: score for name, score in found.items() if score is not None}


def object_json(value: object) -> str:
    """A JSON object as text, or nothing when the value is none or is empty."""
    value = decoded(value)
    return json_of(value) if isinstance(value, dict) and value else ""
