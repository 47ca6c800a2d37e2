"""Google: API keys, keys bound to a service account, OAuth access tokens."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="google",
        literals=("AIza",),
        pattern=re.compile(r"AIza[A-Za-z0-9_-]{35,}"),
    ),
    Definition(
        kind="google",
        literals=("AQ.Ab",),
        pattern=re.compile(r"AQ\.Ab[A-Za-z0-9_-]{30,}"),
    ),
    Definition(
        kind="google",
        literals=("ya29.",),
        pattern=re.compile(r"ya29\.[A-Za-z0-9_.-]{20,}"),
    ),
)
