"""What a scan finds: where, what kind of secret, how sure, and the secret itself, kept from print.

Protects: a secret that a scan found and that is printed, logged, serialised or sent to another
    process by accident.
Does not protect: against code that calls ``reveal`` and mishandles what it gets.
Limits: Python's memory keeps copies of bytes that nobody can wipe; the scanned file is one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NoReturn, Self, SupportsIndex

import msgspec

from keylease.errors import SecretMisused

STARS: Final = "********"


class Confidence(StrEnum):
    """How sure a match is. ``reason`` of the match says why."""

    HIGH = "high"
    """A form that belongs to one provider, in full, or a checksum or structure that fits."""
    MEDIUM = "medium"
    """A value of the right form beside a name that tells whose it is, or a looser form."""
    LOW = "low"
    """A random value beside a general name, a public identifier, or a text that is no real key."""


class Nature(StrEnum):
    """Whether a match can be a key that works."""

    CANDIDATE = "candidate"
    """Nothing says that it is not one."""
    PLACEHOLDER = "placeholder"
    """Stands where a key should be written: ``sk-xxxx``, ``your-api-key``."""
    EXAMPLE = "example"
    """Published by the provider in its documentation."""
    TEST_VECTOR = "test_vector"
    """Published with a standard or a library, so that everybody has it."""


class FoundSecret:
    """The bytes of a secret that a scan found, decoded.

    ``str``, ``repr`` and ``format`` give stars. Pickling, copying and comparing raise
    ``SecretMisused``. ``reveal`` is the only way to the bytes; a fingerprint needs them.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self, *, why: str) -> bytes:
        """Give the bytes. ``why`` names the use, for the reader of the calling code."""
        if not why:
            raise SecretMisused("A secret was opened without a reason.")
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __str__(self) -> str:
        return STARS

    def __repr__(self) -> str:
        return f"FoundSecret({STARS})"

    def __format__(self, format_spec: str) -> str:
        return STARS

    def __bytes__(self) -> NoReturn:
        raise SecretMisused("A secret has no bytes() form; reveal() opens it.")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise SecretMisused("A secret cannot be pickled.")

    def __copy__(self) -> Self:
        raise SecretMisused("A secret cannot be copied.")

    def __deepcopy__(self, memo: object) -> Self:
        raise SecretMisused("A secret cannot be copied.")

    def __eq__(self, other: object) -> bool:
        raise SecretMisused("Secrets are compared by their fingerprints.")

    def __hash__(self) -> NoReturn:
        raise SecretMisused("A secret cannot be a key of a mapping.")


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One secret in scanned data."""

    kind: str
    """``openai-project-key``, ``aws-access-key`` ...; listed in docs/reference/detectors.md."""
    provider: str
    """``openai``, ``aws`` ...; empty when nothing tells whose it is."""
    start: int
    end: int
    """Bytes of the original data, end exclusive: what to replace to remove the secret. Inside
    compressed data no byte belongs to the secret alone; then this is the compressed stream, and
    ``inner`` says where in its content the secret stands."""
    inner: tuple[int, int] | None = None
    """Start and end in the decompressed content; None where ``start`` and ``end`` are exact."""
    encodings: tuple[str, ...] = ()
    """What had to be decoded, outermost first: ``("base64", "gzip", "json")``."""
    confidence: Confidence
    reason: str
    """Why this confidence, for a person; holds no part of the secret."""
    nature: Nature = Nature.CANDIDATE
    nature_reason: str = ""
    masked: str
    """The secret as it may be shown: its public prefix and at most its last four characters."""
    key_id: str = ""
    """The identifier that the provider puts into the key or beside it; no secret."""
    name: str = ""
    """The name it was assigned to, where there is one: ``OPENAI_API_KEY``; no secret."""
    secret: FoundSecret
    """The secret, decoded."""


class Omission(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the data that was not decoded, and why. The rest was scanned all the same."""

    reason: str
    """``too_deep``, ``too_large``, ``corrupt``."""
    encoding: str
    start: int
    end: int
    """Bytes of the original data."""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one look at some data gave."""

    matches: tuple[Match, ...]
    """In order of their places; no two of them overlap unless one is the other's key id."""
    omissions: tuple[Omission, ...] = ()
