"""Enrolment codes: what a person carries from the platform to a new gateway, once.

    kle_<96 base64url characters>: 16 bytes id, 20 random bytes, 32 bytes fingerprint of the
    policy key, 4 bytes CRC-32 of the 68 before them (the prefix is not part of it)

Protects: the gateway knows which policy key to trust before it asks anybody, so that whoever stands
    between it and the platform cannot give it a policy of their own. A mistyped code is told from a
    wrong one without asking.
Does not protect: a code that was shown to others; it opens one enrolment, for a short time.
Limits: the platform stores the SHA-256 of the whole text, which suffices for 160 random bits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import zlib
from collections.abc import Callable
from typing import Final, Self
from uuid import UUID

import msgspec

from keylease.errors import EnrolmentCodeMalformed

PREFIX: Final = "kle_"
SECRET_BYTES: Final = 20
_BODY: Final = re.compile(r"[A-Za-z0-9_-]{96}")
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")


class EnrolmentCode(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed code. Printing it shows its id only."""

    id: str
    """UUID under which the platform keeps it."""
    policy_key: str
    """Fingerprint, as ``bundles.fingerprint`` writes it."""
    text: str

    @property
    def digest(self) -> str:
        """What the platform stores in place of the code."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def mint(
        cls,
        code_id: str,
        *,
        policy_key: str,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Make a code; ``policy_key`` is a fingerprint."""
        body = UUID(code_id).bytes + random_bytes(SECRET_BYTES)
        body += bytes.fromhex(policy_key.removeprefix("sha256:"))
        body += zlib.crc32(body).to_bytes(4)
        text = PREFIX + base64.urlsafe_b64encode(body).decode()
        return cls(id=code_id, policy_key=policy_key, text=text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code; raises ``EnrolmentCodeMalformed`` and never repeats what was sent."""
        text = text.strip()
        if not text.startswith(PREFIX) or not _BODY.fullmatch(text, len(PREFIX)):
            raise EnrolmentCodeMalformed(
                "This is no enrolment code.",
                advice="One begins with kle_ and has 100 characters; copy all of it.",
            )
        try:
            body = base64.urlsafe_b64decode(text[len(PREFIX) :])
        except binascii.Error as error:  # pragma: no cover - 96 characters of the alphabet decode
            raise EnrolmentCodeMalformed("This is no enrolment code.") from error
        body, checksum = body[:-4], body[-4:]
        if zlib.crc32(body).to_bytes(4) != checksum:
            raise EnrolmentCodeMalformed(
                "The enrolment code's checksum does not fit.",
                advice="A character of it was changed or lost; copy all of it again.",
            )
        return cls(
            id=str(UUID(bytes=body[:16])),
            policy_key=f"sha256:{body[-32:].hex()}",
            text=text,
        )

    def __repr__(self) -> str:
        return f"EnrolmentCode({self.id})"

    __str__ = __repr__


def is_fingerprint(text: str) -> bool:
    """Whether a text is a fingerprint in the form that is written here."""
    return _FINGERPRINT.fullmatch(text) is not None
