"""Moonshot (Kimi): ``sk-`` and 48 letters and digits, told by names."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="moonshot-api-key",
        title="Moonshot API key",
        provider="moonshot",
        form=re.compile(r"sk-[A-Za-z0-9]{48}"),
        names=(r"moonshot", r"kimi"),
        examples=("sk-{w:48}",),
    ),
)
