"""Vercel: ``vcp_`` personal, ``vci_`` integration, ``vca_``/``vcr_`` application, ``vck_`` gateway.

Behind the prefix stand 50 characters and their CRC-32 in base62
(https://vercel.com/changelog/new-token-formats-and-secret-scanning). Tokens of old are 24 letters
and digits, which names tell.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.checks import BASE62, crc32_text
from keylease.detectors.definition import Checked, Definition, Shape

_FORM: Final = re.compile(r"vc[piark]_([A-Za-z0-9_-]{50})([A-Za-z0-9]{6})")


def _checksum(text: str) -> Checked:
    match = _FORM.fullmatch(text)
    if match is None:
        return Checked.UNKNOWN
    return Checked.HOLDS if crc32_text(match[1], BASE62, 6) == match[2] else Checked.BROKEN


DEFINITIONS: Final = (
    Definition(
        kind="vercel-token",
        title="Vercel token",
        provider="vercel",
        literals=("vcp_", "vci_", "vca_", "vcr_", "vck_"),
        pattern=re.compile(r"vc[piark]_[A-Za-z0-9_-]{40,80}"),
        trigger=r"vc[piark]_[A-Za-z0-9_-]{16}",
        form=_FORM,
        check=_checksum,
        names=(r"\bvercel", r"zeit_"),
        examples=("vcp_{w:50}{crc62}", "vck_{w:50}{crc62}"),
    ),
)

SHAPES: Final = (
    Shape(
        kind="vercel-token-24",
        title="Vercel token of 24 characters",
        provider="vercel",
        form=re.compile(r"[A-Za-z0-9]{24}"),
        names=(r"\bvercel",),
        least_entropy=3.5,
        bare=True,
        examples=("{w:24}",),
    ),
)
