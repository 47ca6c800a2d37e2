"""Together: ``tgp_v1_``, and the 64 hexadecimal digits of old, which names tell."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Shape, prefixed

DEFINITIONS: Final = (
    prefixed(
        "together-api-key",
        "Together API key",
        ("tgp_v1_",),
        provider="together",
        form=r"tgp_v1_[A-Za-z0-9_-]{43}",
        names=(
            r"together_?(?:ai|api|key|token)",
            r"togethercomputer",
            r"api_together",
            r"\btogether\b",
        ),
        examples=("tgp_v1_{d:43}",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="together-api-key-64",
        title="Together API key of 64 digits",
        provider="together",
        form=re.compile(r"[0-9a-f]{64}"),
        names=(
            r"together_?(?:ai|api|key|token)",
            r"togethercomputer",
            r"api_together",
            r"\btogether\b",
        ),
        bare=True,
        examples=("{h:64}",),
    ),
)
