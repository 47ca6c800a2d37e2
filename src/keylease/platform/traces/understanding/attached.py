"""How events and links stand in a row. Append-only: stored."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened within the span."""

    name: str
    at: int
    attributes: dict[str, msgspec.Raw] = {}


class Link(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another span that this one has to do with."""

    trace_id: str
    span_id: str
    attributes: dict[str, msgspec.Raw] = {}
