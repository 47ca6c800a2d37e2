"""Mistral: 32 letters and digits, told by names only."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="mistral-api-key",
        title="Mistral API key",
        provider="mistral",
        form=re.compile(r"[A-Za-z0-9]{32}"),
        names=(r"mistral", r"codestral"),
        bare=True,
        examples=("{w:32}",),
    ),
)
