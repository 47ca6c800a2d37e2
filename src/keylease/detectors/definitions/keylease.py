"""Our own leases (``kll_`` and a JWT) and API keys (``kl_``)."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

DEFINITIONS: Final = (
    Definition(
        kind="keylease",
        literals=("kll_",),
        pattern=re.compile(r"kll_[A-Za-z0-9_.-]{16,}"),
        boundary=False,
    ),
    Definition(
        kind="keylease",
        literals=("kl_",),
        pattern=re.compile(r"kl_[A-Za-z0-9_-]{16,}"),
        accept=is_random,
    ),
)
