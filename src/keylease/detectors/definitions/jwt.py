"""JSON web tokens, signed (three parts) or encrypted (five); ``eyJ`` is base64 of ``{"``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="jwt",
        literals=("eyJ",),
        # The boundary keeps this linear: a run of token characters is read from its start only.
        pattern=re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}\.[A-Za-z0-9_-]{10,}"),
        at=lambda text, start: start == 0 or text[start - 1] != "-",
    ),
)
