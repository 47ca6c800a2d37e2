"""The text of an API key: what it looks like, how it is made, and what is stored of it.

    kl_<33 base62 characters><6 base62 characters>       API key
    kl_ing_<33 base62 characters><6 base62 characters>   ingest key: may push, and nothing else

The 33 characters are 192 random bits. The last six are the CRC-32 (ISO-HDLC, as zlib computes it)
of everything before them, the prefix included, as a base62 number with leading zeros: GitHub's
way (https://github.blog/engineering/behind-githubs-new-authentication-token-formats/). Base62 is
``0-9A-Za-z`` in this order, most significant digit first.

Append-only: prefixes and kinds are added, none is given another meaning or length, because keys
with the old text are in use and detectors know them.

Protects: a mistyped or truncated key is told from a wrong one without a look-up; a scanner tells
    our keys from anything that merely begins alike; the kind cannot be changed by editing the
    prefix without breaking the checksum.
Does not protect: the checksum is no signature. Whoever can write text can write a well-formed key;
    only the look-up of its digest says whether it is one.
Limits: the digest is one SHA-256 because the key holds 192 random bits; it would be far too fast
    for anything that a person chose.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from keylease.errors import ApiKeyMalformed

RANDOM_BYTES: Final = 24
RANDOM_CHARACTERS: Final = 33
"""The fewest base62 digits that hold 192 bits."""
CHECKSUM_CHARACTERS: Final = 6
"""The fewest base62 digits that hold 32 bits."""
HINT_CHARACTERS: Final = 6
"""Random characters that may be shown; the 27 that stay hidden hold 160 bits."""
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = re.compile(rf"[0-9A-Za-z]{{{RANDOM_CHARACTERS + CHECKSUM_CHARACTERS}}}")


class ApiKeyKind(StrEnum):
    """What a key may be used for at all. Stored: values are never renamed."""

    API = "api"
    """Acts as its principal, within the permissions the key was given."""
    INGEST = "ingest"
    """Pushes scans and traces, and reads nothing."""


PREFIXES: Final[dict[ApiKeyKind, str]] = {
    ApiKeyKind.API: "kl_",
    ApiKeyKind.INGEST: "kl_ing_",
}


class ApiKeyText(msgspec.Struct, frozen=True):
    """A well-formed API key. Printing it shows the hint; ``text`` is the key itself."""

    kind: ApiKeyKind
    text: str

    @property
    def hint(self) -> str:
        """What may be stored and shown so that a person recognises the key: ``kl_1aB2cD...``."""
        prefix = PREFIXES[self.kind]
        return f"{self.text[: len(prefix) + HINT_CHARACTERS]}..."

    @property
    def digest(self) -> str:
        """What is stored in place of the key: SHA-256 of its text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"ApiKeyText({self.kind.value}, {self.hint})"

    __str__ = __repr__


def mint(kind: ApiKeyKind, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Make a new key. ``random_bytes`` gives as many bytes as it is asked for."""
    number = int.from_bytes(random_bytes(RANDOM_BYTES))
    body = PREFIXES[kind] + _base62(number, RANDOM_CHARACTERS)
    return body + _checksum(body)


def parse(text: str) -> ApiKeyText:
    """Read a key; raises ``ApiKeyMalformed`` and says what is wrong, never what was sent."""
    for kind, prefix in PREFIXES.items():
        if text.startswith(prefix) and _BODY.fullmatch(text, len(prefix)):
            if _checksum(text[:-CHECKSUM_CHARACTERS]) != text[-CHECKSUM_CHARACTERS:]:
                raise ApiKeyMalformed(
                    "The API key's checksum does not fit.",
                    advice="A character of it was changed or lost; copy the whole key again.",
                )
            return ApiKeyText(kind=kind, text=text)
    if not text.startswith(tuple(PREFIXES.values())):
        raise ApiKeyMalformed(
            "This is no API key of Keylease.", advice="One begins with kl_ or kl_ing_."
        )
    raise ApiKeyMalformed(
        "The API key has the wrong length, or characters that no key has.",
        advice="Copy the whole key again, without quotes, spaces or line breaks.",
    )


def is_well_formed(text: str) -> bool:
    """Whether ``parse`` would accept the text; for detectors. It says nothing about validity."""
    try:
        parse(text)
    except ApiKeyMalformed:
        return False
    return True


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
