"""Pinecone: ``pcsk_`` with an identifier in it, and the UUID of old, which names tell."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Shape, prefixed

DEFINITIONS: Final = (
    prefixed(
        "pinecone-api-key",
        "Pinecone API key",
        ("pcsk_",),
        provider="pinecone",
        alphabet="A-Za-z0-9_",
        least=40,
        form=r"pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{63}",
        key_id=lambda text: text.split("_")[1],
        names=(r"pinecone",),
        examples=("pcsk_{w:5}_{w:63}", "pcsk_{w:6}_{w:63}"),
    ),
)

SHAPES: Final = (
    Shape(
        kind="pinecone-api-key-old",
        title="Pinecone API key in the form of a UUID",
        provider="pinecone",
        form=re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        names=(r"pinecone",),
        bare=True,
        examples=("{u}",),
    ),
)
