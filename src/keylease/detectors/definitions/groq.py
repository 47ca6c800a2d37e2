"""Groq: ``gsk_``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

DEFINITIONS: Final = (
    Definition(
        kind="groq",
        literals=("gsk_",),
        pattern=re.compile(r"gsk_[A-Za-z0-9]{20,}"),
        accept=is_random,
    ),
)
