"""Random texts that open something once or for a while, and what is kept of them.

Protects: what is stored is the SHA-256 of at least 100 random bits, so that whoever reads the
    database cannot use it, and a look-up by digest tells nothing by the time it takes: nobody can
    choose texts by their digest.
Does not protect: a text that somebody else has seen.
Limits: for random texts only. What people choose is for ``sign_in.passwords``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

RANDOM_BYTES: Final = 32


def random_text(prefix: str = "") -> str:
    """256 random bits in base64url after a prefix."""
    return prefix + secrets.token_urlsafe(RANDOM_BYTES)


def digest_of(text: str, *, purpose: str) -> str:
    """SHA-256 in hexadecimal. The purpose keeps a text of one kind from being one of another."""
    return hashlib.sha256(f"keylease/{purpose}\n{text}".encode()).hexdigest()


def derived_text(secret: str, *, purpose: str) -> str:
    """Another text that follows from a secret one and does not lead back to it."""
    mac = hmac.digest(secret.encode(), f"keylease/{purpose}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def same(one: str, other: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
