"""Vault and OpenBao service tokens: ``hvs.``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

DEFINITIONS: Final = (
    Definition(
        kind="vault",
        literals=("hvs.",),
        pattern=re.compile(r"hvs\.[A-Za-z0-9_-]{20,}"),
        accept=is_random,
    ),
)
