"""Cursor pagination: a page ends where the next one begins, whatever was added in between."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from keylease.errors import CursorInvalid

DEFAULT_LIMIT: Final = 50
MAXIMUM_LIMIT: Final = 500
_MAXIMUM_CURSOR: Final = 1000
T = TypeVar("T")


class PageRequest(msgspec.Struct, frozen=True):
    """Which page is asked for."""

    limit: int = DEFAULT_LIMIT
    cursor: str = ""
    """What the page before gave as ``next_cursor``; empty for the first."""

    def after(self, count: int = 1) -> tuple[str, ...] | None:
        """The sort key of the last row seen, as ``count`` texts; ``None`` at the first page."""
        if not self.cursor:
            return None
        try:
            padded = self.cursor + "=" * (-len(self.cursor) % 4)
            raw = base64.b64decode(padded, altchars=b"-_", validate=True)
            key = msgspec.json.decode(raw, type=tuple[str, ...])
        except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
            key = ()
        if len(key) != count or len(self.cursor) > _MAXIMUM_CURSOR or any("\0" in k for k in key):
            raise CursorInvalid(
                "The cursor is not one that this list gave.",
                advice="Start again without a cursor.",
            )
        return key


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of a list, in order."""

    items: tuple[T, ...]
    next_cursor: str = ""
    """Empty at the end."""


def page_of(
    rows: Sequence[T], request: PageRequest, *, key: Callable[[T], tuple[str, ...]]
) -> Page[T]:
    """Make a page of rows that were asked for with ``limit + 1``."""
    if len(rows) <= request.limit:
        return Page(items=tuple(rows))
    kept = tuple(rows[: request.limit])
    raw = msgspec.json.encode(key(kept[-1]))
    return Page(items=kept, next_cursor=base64.urlsafe_b64encode(raw).rstrip(b"=").decode())
