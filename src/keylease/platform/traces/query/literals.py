"""Literals of the filter language, as what is stored: microseconds, micro-USD, numbers, texts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from keylease.errors import QueryInvalid
from keylease.platform.traces.query.lexer import Token, TokenKind

_LARGEST: Final = 2**63 - 1
_DURATION_UNITS: Final = {
    "us": 1,
    "\u00b5s": 1,  # the micro sign
    "\u03bcs": 1,  # the Greek letter that looks like it
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_SIZE_UNITS: Final = {
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1_024,
    "mib": 1_048_576,
    "gib": 1_073_741_824,
}
_PART: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([a-z\u00b5\u03bc]+)")
_NUMBER: Final = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)([A-Za-z]*)", re.ASCII)
_NOW: Final = re.compile(r"now(?:([+-])(\w+))?", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER: Final = 64
_MONEY_PLACES: Final = 6
# What the store's times can say; every span lies within, so a bound beyond means the same.
_EARLIEST: Final = -1
_LATEST: Final = 10_413_791_999_999_999


def duration(token: Token) -> int:
    """Microseconds of ``2s``, ``150ms`` or ``1h30m``."""
    micros = _duration(token.text) if token.kind is TokenKind.NUMBER else None
    if micros is None:
        raise QueryInvalid(
            "A duration is a number with a unit.",
            position=token.position,
            advice="Such as 150ms, 2s or 1h30m; units are us, ms, s, m, h, d, w.",
        )
    return micros


def _duration(text: str) -> int | None:
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        return 0 if text == "0" else None
    if any(unit not in _DURATION_UNITS for _, unit in parts):
        return None
    total = sum(Decimal(number) * _DURATION_UNITS[unit] for number, unit in parts)
    return int(total) if total <= _LARGEST else None


def money(token: Token) -> int:
    """Micro-USD of ``0.05``; the unit ``usd`` behind it is the parser's."""
    match = _NUMBER.fullmatch(token.text) if token.kind is TokenKind.NUMBER else None
    if match is None or match[2].lower() not in {"", "usd"} or len(token.text) > _LONGEST_NUMBER:
        raise QueryInvalid(
            "Money is a number of dollars.", position=token.position, advice="Such as 0.05 usd."
        )
    micros = Decimal(match[1]).scaleb(_MONEY_PLACES)
    if abs(micros) > _LARGEST or micros != micros.to_integral_value():
        raise QueryInvalid("Money has at most six decimals.", position=token.position)
    return int(micros)


def number(token: Token) -> int | float:
    """A number, also with a unit of size."""
    match = _NUMBER.fullmatch(token.text) if token.kind is TokenKind.NUMBER else None
    unit = _SIZE_UNITS.get(match[2].lower(), 0) if match and match[2] else 1
    if match is None or not unit or len(token.text) > _LONGEST_NUMBER:
        raise QueryInvalid(
            "A number is expected here.",
            position=token.position,
            advice="Such as 100, 0.5, 1e6 or 64kb; units are b, kb, mb, gb, kib, mib, gib.",
        )
    try:
        value = Decimal(match[1]) * unit
        in_range = abs(value) <= _LARGEST
    except InvalidOperation:
        in_range = False
    if not in_range:
        raise QueryInvalid("The number is too large.", position=token.position)
    if value == value.to_integral_value():
        return int(value)
    return float(value)


def time(token: Token, *, now: int) -> int:
    """Microseconds UTC of an ISO time, quoted or not, or of ``now-1h``."""
    if token.kind in {TokenKind.TIME, TokenKind.STRING}:
        micros = _iso(token.text)
    elif token.kind is TokenKind.WORD:
        micros = _relative(token.text, now)
    else:
        micros = None
    if micros is None:
        raise QueryInvalid(
            "A time is expected here.",
            position=token.position,
            advice="Such as 2026-11-23, 2026-11-23T08:30:00Z or now-1h; without a zone it is UTC.",
        )
    return max(_EARLIEST, min(micros, _LATEST))


def _iso(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond


def _relative(text: str, now: int) -> int | None:
    match = _NOW.fullmatch(text)
    if match is None:
        return None
    if not match[1]:
        return now
    distance = _duration(match[2])
    if distance is None:
        return None
    return now - distance if match[1] == "-" else now + distance
