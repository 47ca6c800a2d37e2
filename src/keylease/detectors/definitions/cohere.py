"""Cohere: 40 letters and digits, told by names only. All hexadecimal, it is a git hash."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="cohere-api-key",
        title="Cohere API key",
        provider="cohere",
        form=re.compile(r"(?![0-9a-f]{40})[A-Za-z0-9]{40}"),
        names=(r"cohere(?!n)", r"\bco_?api_?key"),
        least_entropy=3.5,
        bare=True,
        examples=("{w:40}",),
    ),
)
