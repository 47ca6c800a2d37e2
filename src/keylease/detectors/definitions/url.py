"""Passwords in addresses: ``scheme://user:password@host``."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="url-password",
        title="password in an address",
        label="url",
        literals=("://",),
        pattern=re.compile(
            r"""://[^\s/:@"'<>\\\[\]]{0,128}:(?P<secret>[^\s/:@"'<>\\\[\]]{3,256})@"""
        ),
        trigger=r"""://[^\s/:@"'<>\\\[\]]{0,128}:[^\s/:@"'<>\\\[\]]{3,256}@""",
        boundary=False,
        generic=True,
        examples=("postgres://app:{w:20}@db.internal/app",),
        counter_examples=("https://user@example.com:8443/path?key=value",),
    ),
)
