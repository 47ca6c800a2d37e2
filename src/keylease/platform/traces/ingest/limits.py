"""What one body, one span and one value may be. Beyond them: refused, or shortened and said so."""

from __future__ import annotations

from typing import Final

import msgspec

MEGABYTE: Final = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what a client sends."""

    body_bytes: int = 16 * MEGABYTE
    """Of a body as it arrives, compressed or not."""
    decoded_bytes: int = 64 * MEGABYTE
    """Of a body after decompression."""
    span_bytes: int = 12 * MEGABYTE
    """Of one span as it is logged; a record of the log holds 16 MB."""
    messages: int = 2_000_000
    """Of a body: resources, spans, attributes, values, their texts. Half as many JSON objects."""
    projects: int = 100
    """That the resources of a body name."""
    attributes: int = 1000
    """Of a span, an event, a link or a resource; further ones are dropped and counted."""
    events: int = 1000
    links: int = 1000
    key_characters: int = 1024
    name_characters: int = 1024
    text_characters: int = 8 * MEGABYTE
    """Of one value; what is longer is cut."""
    depth: int = 24
    """Lists and objects inside each other in a value; what lies deeper is left out."""
    earliest: int = 0
    """Microseconds since 1970."""
    latest: int = 7_258_118_400_000_000
    """2200-01-01."""
    reasons: int = 8
    """Different reasons that an answer names."""


DROPPED_ATTRIBUTES: Final = "keylease.dropped_attributes"
"""Attribute of a span: how many of its attributes were beyond the limit, ours and the sender's."""
SHORTENED_VALUES: Final = "keylease.shortened_values"
"""Attribute of a span: how many values were cut or left out because of a limit."""
