"""The dialects, and who is believed where several speak in one span.

The order is the precedence, field by field: what the first says stands, what it does not say is
taken from the next.

1. Keylease: what our gateway measured, our SDK's own words.
2. Braintrust: its attributes exist to set a field by hand.
3. GenAI as it is: the standard.
4. OpenInference, 5. Traceloop, 6. Vercel: whole conventions of their own. Where one of them writes
   GenAI names too, both say the same.
7. GenAI, older forms: often written beside one of the others for the sake of older readers.
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.model import RawSpan
from keylease.platform.traces.understanding import (
    braintrust,
    genai,
    genai_older,
    openinference,
    own,
    traceloop,
    vercel,
)
from keylease.platform.traces.understanding.dialects import Dialect

DIALECTS: Final[tuple[Dialect, ...]] = (
    own.DIALECT,
    braintrust.DIALECT,
    genai.DIALECT,
    openinference.DIALECT,
    traceloop.DIALECT,
    vercel.DIALECT,
    genai_older.DIALECT,
)
_REMEMBERED: Final = 8192
"""Names of attributes; clients choose them, so that there must be an end."""


class Registry:
    """Which dialects a span speaks, by the names of its attributes and events."""

    def __init__(self) -> None:
        self._masks: dict[str, int] = {}
        """Name of an attribute -> one bit for each dialect; names come again with every span."""
        self._chosen: dict[int, tuple[Dialect, ...]] = {0: ()}
        self._events = {
            name: 1 << number for number, dialect in enumerate(DIALECTS) for name in dialect.events
        }

    def spoken(self, span: RawSpan) -> tuple[Dialect, ...]:
        """The dialects of a span, in the order of their precedence."""
        masks = self._masks
        spoken = 0
        for name in span.attributes:
            mask = masks.get(name)
            spoken |= self._mask(name) if mask is None else mask
        for event in span.events:
            spoken |= self._events.get(event.name, 0)
        chosen = self._chosen.get(spoken)
        if chosen is None:
            chosen = self._chosen[spoken] = tuple(
                dialect for number, dialect in enumerate(DIALECTS) if spoken >> number & 1
            )
        return chosen

    def _mask(self, name: str) -> int:
        found = 0
        for number, dialect in enumerate(DIALECTS):
            if any(name == prefix or name.startswith(f"{prefix}.") for prefix in dialect.prefixes):
                found |= 1 << number
        if len(self._masks) >= _REMEMBERED:
            self._masks.clear()
        self._masks[name] = found
        return found
