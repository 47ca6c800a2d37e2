"""JSON web tokens, signed (three parts) or encrypted (five); ``eyJ`` is base64 of ``{"``."""

from __future__ import annotations

import binascii
import re
from typing import Final

import msgspec

from keylease.detectors.definition import Checked, Definition

_PART: Final = 4096


def _header(text: str) -> Checked:
    """Whether the first part is a JOSE header (RFC 7515 section 4): an object with ``alg``."""
    part = text.partition(".")[0]
    if len(part) > _PART:
        return Checked.UNKNOWN
    try:
        document = msgspec.json.decode(
            binascii.a2b_base64(part.replace("-", "+").replace("_", "/") + "==")
        )
    except (binascii.Error, msgspec.DecodeError, RecursionError):
        return Checked.BROKEN
    return Checked.HOLDS if isinstance(document, dict) and "alg" in document else Checked.BROKEN


DEFINITIONS: Final = (
    Definition(
        kind="jwt",
        title="JSON web token",
        label="jwt",
        literals=("eyJ",),
        # The boundary keeps this linear: a run of token characters is read from its start only.
        pattern=re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}\.[A-Za-z0-9_-]{10,}"),
        trigger=r"eyJ[A-Za-z0-9_-]{8}",
        check=_header,
        at=lambda text, start: start == 0 or text[start - 1] != "-",
        generic=True,
        examples=("{jwt}",),
        counter_examples=("eyJ{d:40}",),
    ),
)
