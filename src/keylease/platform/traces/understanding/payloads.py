"""Keeps large texts apart from their rows: a row has the beginning and the digest of the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from keylease.platform.traces.interfaces import Payload
from keylease.platform.traces.model import LARGE_PAYLOAD
from keylease.platform.traces.understanding.values import each_as_json, json_of

REFERENCE: Final = "keylease-payload:"
"""An address of this form, in place of a ``data:`` address, names a payload by its digest."""
_LARGE_MEDIA: Final = 1024
"""Characters of a ``data:`` address from which on it is kept apart."""
_SURELY_SMALL: Final = LARGE_PAYLOAD // 4
"""Characters; none takes more than four bytes."""
_BEGINNING: Final = 4096
"""Bytes of a large text that stay in its row."""


class Kept(NamedTuple):
    """A text as it stands in a row."""

    text: str
    digest: str = ""
    """Of the whole text, when ``text`` is its beginning only."""


class PayloadBox:
    """Collects the large texts of one span. Each is kept once."""

    def __init__(self) -> None:
        self._found: dict[str, Payload] = {}

    def payloads(self) -> tuple[Payload, ...]:
        """Everything that was kept apart."""
        return tuple(self._found.values())

    def keep(self, text: str) -> Kept:
        """Keep a text: as it is, or its beginning when it is large."""
        encoded = _large(text)
        if encoded is None:
            return Kept(text)
        return Kept(encoded[:_BEGINNING].decode("utf-8", "ignore"), self._add(encoded))

    def attributes(self, attributes: Mapping[str, object]) -> dict[str, str]:
        """Keep the values of attributes as JSON texts, of large ones the reference to them."""
        kept = each_as_json(attributes)
        for name, text in kept.items():
            if len(text) > _SURELY_SMALL and (encoded := _large(text)) is not None:
                reference = {"keylease.payload": self._add(encoded), "bytes": len(encoded)}
                kept[name] = json_of(reference)
        return kept

    def address(self, url: str) -> str:
        """Keep the address of an image or a sound: as it is, or a reference to its large data."""
        if len(url) < _LARGE_MEDIA or not url.startswith("data:"):
            return url
        return REFERENCE + self._add(url.encode("utf-8", "replace"))

    def _add(self, encoded: bytes) -> str:
        digest = hashlib.sha256(encoded).hexdigest()
        if digest not in self._found:
            self._found[digest] = Payload(digest, encoded.decode())
        return digest


def _large(text: str) -> bytes | None:
    """The UTF-8 of a large text."""
    if len(text) <= _SURELY_SMALL:
        return None
    encoded = text.encode("utf-8", "replace")
    return encoded if len(encoded) > LARGE_PAYLOAD else None
