"""xAI: ``xai-``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

DEFINITIONS: Final = (
    Definition(
        kind="xai",
        literals=("xai-",),
        pattern=re.compile(r"xai-[A-Za-z0-9]{20,}"),
        accept=is_random,
    ),
)
