"""Hugging Face: ``hf_``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

DEFINITIONS: Final = (
    Definition(
        kind="huggingface",
        literals=("hf_",),
        pattern=re.compile(r"hf_[A-Za-z0-9]{20,}"),
        accept=is_random,
    ),
)
