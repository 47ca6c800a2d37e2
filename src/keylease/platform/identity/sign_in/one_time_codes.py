"""One-time codes (TOTP, RFC 6238) and recovery codes.

Protects: a code opens once: the time step it belongs to is kept, and only later ones are taken. A
    clock may be half a minute off. The secret is sealed where it is stored. A recovery code
    has 100 random bits, is kept as a digest and removed when it is used.
Does not protect: a code that is typed into somebody else's page. Passkeys are bound to this site.
Limits: SHA-1 with six digits and thirty seconds, because that is what every app does; the guesses
    are limited by ``attempts``.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

import pyotp
from pyotp.exceptions import OTPVerificationError

from keylease.platform.identity.one_time import digest_of
from keylease.primitives.clock import MICROSECONDS

RECOVERY_CODES: Final = 10
_DIGITS: Final = re.compile(r"[0-9]{6}")
_DRIFT: Final = 1
"""Time steps of thirty seconds to each side (RFC 6238 section 5.2)."""
_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""32 characters, none of which looks like another."""
_GROUPS: Final = 4
_GROUP: Final = 5


def new_secret() -> str:
    """160 random bits in base32."""
    return pyotp.random_base32(32)


def enrolment_uri(secret: str, *, email: str) -> str:
    """What an app reads, as a link or a picture."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="Keylease")


def step_of(secret: str, code: str, *, now: int, after: int) -> int | None:
    """The time step the code belongs to, if it is right and later than ``after``."""
    code = code.replace(" ", "")
    if not _DIGITS.fullmatch(code):
        return None
    try:
        step = pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=now // MICROSECONDS, valid_window=_DRIFT
        )
    except OTPVerificationError:
        return None
    return step if step > after else None


def new_recovery_codes() -> list[str]:
    """Codes to write down, such as ``ABCDE-FGHJK-LMNPQ-RSTUV``."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        for _ in range(RECOVERY_CODES)
    ]


def recovery_digest(code: str, *, user_id: str) -> str:
    """What is kept of a recovery code, however it is typed."""
    plain = re.sub(r"[\s-]+", "", code).upper()
    return digest_of(f"{user_id}\n{plain}", purpose="recovery-code")
