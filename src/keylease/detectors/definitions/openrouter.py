"""OpenRouter: ``sk-or-v1-`` and 64 hexadecimal digits."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="openrouter",
        literals=("sk-or-v1-",),
        pattern=re.compile(r"sk-or-v1-[A-Za-z0-9]{32,}"),
        boundary=False,
    ),
)
