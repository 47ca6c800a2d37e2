"""Passwords in addresses: ``scheme://user:password@host``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="url",
        literals=("://",),
        pattern=re.compile(
            r"""://[^\s/:@"'<>\\\[\]]{0,128}:(?P<secret>[^\s/:@"'<>\\\[\]]{3,256})@"""
        ),
        boundary=False,
    ),
)
