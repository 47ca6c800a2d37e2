"""What the decoder makes of a body. Apart from it, because it is compiled."""

from __future__ import annotations

from collections import Counter

import msgspec

from keylease.platform.traces.model import RawSpan


class Group(msgspec.Struct, frozen=True):
    """Spans of one project."""

    project: str
    """As the resource names it; empty when it does not."""
    spans: list[RawSpan]


class Decoded(msgspec.Struct):
    """What a body held."""

    groups: list[Group]
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    """Reason -> spans that were refused for it."""
    warnings: Counter[str] = msgspec.field(default_factory=Counter)
    """What was mended -> how often."""

    @property
    def spans(self) -> int:
        """How many were taken."""
        return sum(len(group.spans) for group in self.groups)
