"""Portkey: 20 bytes in base64, told by names only."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="portkey-api-key",
        title="Portkey API key",
        provider="portkey",
        form=re.compile(r"[A-Za-z0-9+/]{26,28}={0,2}"),
        names=(r"portkey",),
        bare=True,
        examples=("{b:27}=", "{b:28}"),
    ),
)
