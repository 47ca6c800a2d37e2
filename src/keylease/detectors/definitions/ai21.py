"""AI21: a UUID or 32 letters and digits, told by names only."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="ai21-api-key",
        title="AI21 API key",
        provider="ai21",
        form=re.compile(r"[A-Za-z0-9]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        names=(r"ai_?21", r"jamba"),
        bare=True,
        examples=("{w:32}", "{u}"),
    ),
)
