"""Authorization fields: Bearer tokens and Basic credentials (RFC 6750, RFC 7617)."""

from __future__ import annotations

import binascii
import re
from typing import Final

from keylease.detectors.definition import Definition
from keylease.detectors.randomness import is_random


def _user_and_password(text: str) -> bool:
    try:
        return b":" in binascii.a2b_base64(text)
    except binascii.Error:
        return False


DEFINITIONS: Final = (
    Definition(
        kind="bearer-token",
        title="bearer token",
        label="bearer",
        generic=True,
        literals=("Bearer ", "bearer ", "BEARER ", "Bearer%20"),
        pattern=re.compile(r"(?i:bearer)(?:\s{1,4}|%20)(?P<secret>[A-Za-z0-9._~+/-]{16,}={0,2})"),
        trigger=r"(?:[bB]earer|BEARER)(?: [^!-~]{0,3}|%20)[A-Za-z0-9._~+/-]{16}",
        accept=is_random,
    ),
    Definition(
        kind="basic-credentials",
        title="basic credentials",
        label="basic",
        generic=True,
        literals=("Basic ", "basic ", "BASIC "),
        pattern=re.compile(r"(?i:basic)\s{1,4}(?P<secret>[A-Za-z0-9+/]{12,}={0,2})"),
        trigger=r"(?:[bB]asic|BASIC) [^!-~]{0,3}[A-Za-z0-9+/]{12}",
        accept=_user_and_password,
    ),
)
