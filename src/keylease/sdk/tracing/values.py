"""What goes into a function and comes out of it, as bounded JSON.

Promises: never raises, never consumes an iterator, never looks into an object that does not say
itself how it is written. What is left out leaves a mark. What looks like a secret is masked by the
platform, not here; leave such parameters out.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

LARGEST: Final = 500_000
"""Characters of one input or output."""
_DEEPEST: Final = 12
_MOST_MEMBERS: Final = 2_000
_LEFT_OUT: Final = "..."
_THEMSELVES: Final = frozenset({"self", "cls"})


def arguments_of(
    signature: inspect.Signature | None,
    positional: tuple[Any, ...],
    named: Mapping[str, Any],
    *,
    leave_out: Collection[str] = (),
) -> dict[str, Any]:
    """Arguments by the names of their parameters; those of a wrong call as they were given."""
    try:
        bound: dict[str, Any] = (
            dict(signature.bind(*positional, **named).arguments) if signature else dict(named)
        )
    except TypeError:
        bound = {"args": positional, **named}
    return {
        name: value
        for name, value in bound.items()
        if name not in leave_out and name not in _THEMSELVES
    }


def json_of(value: object) -> str:
    """A value as JSON of at most ``LARGEST`` characters, and some."""
    writer = _Writer()
    text = msgspec.json.encode(writer.plain(value, depth=0)).decode()
    return text if len(text) <= 2 * LARGEST else msgspec.json.encode(text[:LARGEST]).decode()


class _Writer:
    """Makes plain values, until it has made enough."""

    def __init__(self) -> None:
        self._left = LARGEST
        self._members = _MOST_MEMBERS

    def plain(self, value: object, *, depth: int) -> object:
        """The value in JSON's types."""
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value if _fits(value) else str(value)
        if isinstance(value, str):
            return self._text(value)
        if (text := _written(value)) is not None:
            return text
        if depth >= _DEEPEST or self._left <= 0:
            return _LEFT_OUT
        return self._compound(value, depth=depth + 1)

    def _compound(self, value: object, *, depth: int) -> object:
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth=depth)
            if isinstance(value, Sequence | AbstractSet):
                return self._sequence(value, depth=depth)
            members = _members(value)
        except Exception:  # noqa: BLE001 - a foreign object's methods must not break its program
            members = None
        if members is None:
            return f"<{type(value).__module__}.{type(value).__qualname__}>"
        return self._mapping(members, depth=depth)

    def _mapping(self, value: Mapping[Any, Any], *, depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        for name, member in value.items():
            if not self._may_go_on():
                made[_LEFT_OUT] = len(value) - len(made)
                break
            key = name if isinstance(name, str) else str(self.plain(name, depth=depth))
            made[self._text(key)] = self.plain(member, depth=depth)
        return made

    def _sequence(self, value: Collection[Any], *, depth: int) -> list[object]:
        made: list[object] = []
        for member in value:
            if not self._may_go_on():
                made.append(_LEFT_OUT)
                break
            made.append(self.plain(member, depth=depth))
        return made

    def _may_go_on(self) -> bool:
        self._members -= 1
        self._left -= 1
        return self._members >= 0 and self._left > 0

    def _text(self, text: str) -> str:
        kept = text[: max(0, self._left)]
        self._left -= len(text)
        # Halves of surrogate pairs are no text in UTF-8.
        kept = kept.encode("utf-8", "replace").decode()
        return kept if len(kept) == len(text) else kept + _LEFT_OUT


def _fits(number: float) -> bool:
    return -(2**63) <= number < 2**64 if isinstance(number, int) else math.isfinite(number)


def _written(value: object) -> str | None:
    """Of values that are texts in JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if isinstance(value, UUID | Decimal) else None


def _members(value: object) -> Mapping[Any, Any] | None:
    """Of an object that says itself how it is written."""
    if isinstance(value, type):
        return None
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump: Callable[..., object] | None = getattr(
        value, "model_dump", None
    )  # Pydantic, provider SDKs
    dumped = dump(mode="json") if callable(dump) else None
    return dumped if isinstance(dumped, Mapping) else None
