"""Passwords: which are accepted, and how they are kept.

Protects: Argon2id (RFC 9106, its second recommended choice: 64 MiB, three passes, four lanes)
    makes each guess at a stolen table dear; the parameters are stored with each password, and one
    that was kept with weaker ones is kept anew at the next sign-in. Passwords shorter than
    ``SHORTEST`` or on the list of common ones are refused, also with digits or signs around them.
Does not protect: a password that is used elsewhere too. A passkey has no such weakness.
Limits: few passwords are looked at at once, because each takes 64 MiB; the others wait.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import re
import unicodedata
from typing import Final

import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keylease.errors import InputInvalid, StorageCorrupt
from keylease.platform.identity.sign_in.common_passwords import COMMON

SHORTEST: Final = 12
"""Characters."""
LONGEST: Final = 256
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_AT_ONCE: Final = 2
_PHC: Final = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,3})"
    r"\$([A-Za-z0-9+/]{1,64})\$([A-Za-z0-9+/]{1,128})"
)


class Parameters(msgspec.Struct, frozen=True):
    """What a hash costs."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


class PasswordHasher:
    """Makes and checks hashes, off the event loop."""

    def __init__(self, parameters: Parameters = Parameters()) -> None:  # noqa: B008 - frozen
        self._parameters = parameters
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._decoy = _text(parameters, os.urandom(_SALT_BYTES), os.urandom(_HASH_BYTES))

    async def hash(self, password: str) -> str:
        """The PHC text of a new hash. The password must have passed ``check_new_password``."""
        salt = os.urandom(_SALT_BYTES)
        derived = await self._derive(password, self._parameters, salt, _HASH_BYTES)
        return _text(self._parameters, salt, derived)

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether it is the password. Without a stored one it takes as long, and is not."""
        parameters, salt, expected = _read(stored or self._decoy)
        derived = await self._derive(password, parameters, salt, len(expected))
        return hmac.compare_digest(derived, expected) and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than new ones are."""
        return _read(stored)[0] != self._parameters

    async def _derive(
        self, password: str, parameters: Parameters, salt: bytes, length: int
    ) -> bytes:
        function = Argon2id(
            salt=salt,
            length=length,
            iterations=parameters.passes,
            lanes=parameters.lanes,
            memory_cost=parameters.memory_kib,
        )
        async with self._slots:
            return await asyncio.to_thread(function.derive, _normal(password))


def check_new_password(password: str, *, email: str) -> None:
    """Raise ``InputInvalid`` unless it may be used as a password."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    if not SHORTEST <= len(password) <= LONGEST or "\0" in password:
        raise InputInvalid(
            f"A password has {SHORTEST} to {LONGEST} characters.",
            advice="Four words that do not belong together are easy to keep in mind.",
        )
    core = re.sub(r"[\W\d_]+", "", folded)
    local = email.casefold().partition("@")[0]
    if (
        len(set(folded)) < _FEWEST_DIFFERENT
        or folded in COMMON
        or core in COMMON
        or any(core == word * times for word in COMMON for times in (2, 3))
        or (len(local) >= _TELLING and local in folded)
    ):
        raise InputInvalid(
            "This password is easy to guess.",
            advice="Take one that is no common word, and that does not contain your name.",
        )


_FEWEST_DIFFERENT: Final = 5
_TELLING: Final = 4


def _normal(password: str) -> bytes:
    # The same characters, typed on another keyboard, must give the same bytes (RFC 8265).
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _text(parameters: Parameters, salt: bytes, derived: bytes) -> str:
    cost = f"m={parameters.memory_kib},t={parameters.passes},p={parameters.lanes}"
    return f"$argon2id$v=19${cost}${_base64(salt)}${_base64(derived)}"


def _read(text: str) -> tuple[Parameters, bytes, bytes]:
    match = _PHC.fullmatch(text)
    if match is None:
        raise StorageCorrupt("A stored password hash cannot be read.")
    memory, passes, lanes, salt, derived = match.groups()
    try:
        salted = _unbase64(salt), _unbase64(derived)
    except binascii.Error as error:
        raise StorageCorrupt("A stored password hash cannot be read.") from error
    return Parameters(int(memory), int(passes), int(lanes)), *salted


def _base64(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
