"""Anthropic: ``sk-ant-api03-``, ``sk-ant-admin01-``, federated ``sk-ant-oat01-``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="anthropic",
        literals=("sk-ant-",),
        pattern=re.compile(r"sk-ant-[A-Za-z0-9_-]{16,}"),
        boundary=False,
    ),
)
