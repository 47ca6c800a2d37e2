"""JSON web tokens, signed (three parts) or encrypted (five); ``eyJ`` is base64 of ``{"``."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final

import msgspec

from keylease.detectors.definition import Checked, Definition

_PART: Final = 4096
_TUTORIAL_KEYS: Final = (
    "secret",
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "key",
)
_HMACS: Final = {43: "sha256", 64: "sha384", 86: "sha512"}
"""Length of the signature in base64url -> the hash of HS256, HS384, HS512 (RFC 7518)."""


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


def _forgeable(text: str) -> str:
    """Whether it is signed with a word of a tutorial, so that everybody can make such a token."""
    signed, _, signature = text.rpartition(".")
    if len(signed) > _PART:
        return ""
    for word in _TUTORIAL_KEYS:
        for size, digest in _HMACS.items():
            if len(signature) == size and signature == _signature(signed, word, digest):
                return f"It is signed with {word!r}, the key of a tutorial."
    return ""


def _signature(signed: str, word: str, digest: str) -> str:
    mac = hmac.digest(word.encode(), signed.encode(), digest)
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


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
        published=_forgeable,
        at=lambda text, start: start == 0 or text[start - 1] != "-",
        generic=True,
        examples=("{jwt}",),
        counter_examples=("eyJ{d:40}",),
    ),
)
