"""Snowflake: programmatic access tokens (in the form of a JWT), told by names; and passwords."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="snowflake-access-token",
        title="Snowflake programmatic access token",
        provider="snowflake",
        form=re.compile(
            r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}|[A-Za-z0-9_-]{100,500}"
        ),
        names=(r"snowflake", r"\bsf_(?:token|pat)"),
        examples=("eyJ{d:40}.eyJ{d:120}.{d:86}",),
    ),
)
