"""Stability: ``sk-`` and 48 letters and digits, told by names."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="stability-api-key",
        title="Stability API key",
        provider="stability",
        form=re.compile(r"sk-[A-Za-z0-9]{48}"),
        names=(r"stability", r"dreamstudio", r"stable_?diffusion"),
        examples=("sk-{w:48}",),
    ),
)
