"""Fingerprints: by what the same secret is recognised in different places, without the secret.

    fingerprint = HMAC-SHA-256(fingerprint key, "keylease fingerprint 1" 0x00 secret)

Protects: who sees fingerprints only learns nothing but which of them are equal. The key's bytes
    are never printed, pickled or serialised by what holds them here.
Does not protect: who holds the fingerprint key and a fingerprint can test guesses (a confirmation
    oracle). Therefore a secret that could be guessed gets none, and the key file is readable by
    its owner only. The key opens nothing else.
Limits: entropy is estimated from the text alone, on the cautious side; what a person has chosen
    may look random, and a short random secret gets no fingerprint.

Rotation: ``rotated`` puts a new key of the same id and the next version in front and keeps the one
before. Until the old one is dropped (``without_previous``) every secret has two fingerprints, the
new one first, so that records under the old key are linked to those under the new one by any scan
that meets the secret again. What was not met again keeps its old fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from keylease.contracts.findings import Fingerprint
from keylease.errors import FingerprintKeyInvalid
from keylease.primitives import files

LOCAL_KEY_FILE: Final = "fingerprint.key"
"""In the configuration directory: the key of this machine, and of the organization of an
installation on it."""
KEY_FILE_FORMAT: Final = 1
KEY_BYTES: Final = 32
MINIMUM_BITS: Final = 72.0
"""Estimated bits below which a secret could be guessed by who holds the fingerprint key: 2^72
HMACs are out of reach, and every kind of key that providers issue is above."""
_BITS_OF_A_LETTER_IN_WORDS: Final = 2.0
"""Shannon, Prediction and Entropy of Printed English (1951), gives 0.6 to 1.3 bits for long text
and about 2 with little context."""
_WORDS: Final = re.compile(rb"[a-z\W_]+[0-9]{0,4}[!.?]*|[A-Z\W_]+[0-9]{0,4}[!.?]*|[A-Z]?[a-z]+")
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_REPEATED: Final = re.compile(rb"(.{1,32}?)\1+", re.DOTALL)
_CONTEXT: Final = b"keylease fingerprint 1\x00"
_MAXIMUM_FILE_BYTES: Final = 16 * 1024
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class FingerprintKey:
    """One version of an organization's fingerprint key. Shows its id and version, nothing else."""

    __slots__ = ("_key", "id", "version")

    def __init__(self, *, key_id: str, version: int, key: bytes) -> None:
        """Raise ``FingerprintKeyInvalid`` for a key that is none."""
        if not _ID.fullmatch(key_id) or version < 1 or len(key) != KEY_BYTES:
            raise FingerprintKeyInvalid("The fingerprint key is not of the form it must have.")
        self.id = key_id
        self.version = version
        self._key = key

    def fingerprint(self, secret: bytes) -> Fingerprint:
        """The fingerprint of a secret; see ``FingerprintKeys.of`` for who may have one."""
        value = hmac.digest(self._key, _CONTEXT + secret, hashlib.sha256).hex()
        return Fingerprint(self.id, self.version, value)

    def danger_bytes(self) -> bytes:
        """The key itself, to be written to its own file and nowhere else."""
        return self._key

    def __repr__(self) -> str:
        return f"FingerprintKey({self})"

    def __str__(self) -> str:
        return f"{self.id}.{self.version}"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A fingerprint key is not pickled.")


class FingerprintKeys:
    """The fingerprint key in force, and the one before it while it is being rotated."""

    def __init__(self, current: FingerprintKey, previous: FingerprintKey | None = None) -> None:
        """Raise ``FingerprintKeyInvalid`` when the two are not versions of one key."""
        if previous is not None and (
            previous.id != current.id or previous.version >= current.version
        ):
            raise FingerprintKeyInvalid("The previous fingerprint key is not an older version.")
        self.current = current
        self.previous = previous

    def of(self, secret: bytes) -> tuple[Fingerprint, ...]:
        """The fingerprints of a secret, the current key's first; none when it could be guessed."""
        if estimated_bits(secret) < MINIMUM_BITS:
            return ()
        keys = (self.current,) if self.previous is None else (self.current, self.previous)
        return tuple(key.fingerprint(secret) for key in keys)

    def shares_a_key_with(self, other: FingerprintKeys) -> bool:
        """Whether a secret gets one and the same fingerprint from both."""
        mine, theirs = (
            {key.danger_bytes() for key in (keys.current, keys.previous) if key is not None}
            for keys in (self, other)
        )
        return bool(mine & theirs)

    def rotated(self, *, random_bytes: Callable[[int], bytes] = os.urandom) -> FingerprintKeys:
        """A new key in front of the current one. Refused while a rotation is under way."""
        if self.previous is not None:
            raise FingerprintKeyInvalid(
                "This fingerprint key is being rotated already.",
                advice="Drop the previous version first.",
            )
        following = FingerprintKey(
            key_id=self.current.id,
            version=self.current.version + 1,
            key=random_bytes(KEY_BYTES),
        )
        return FingerprintKeys(following, self.current)

    def without_previous(self) -> FingerprintKeys:
        """The rotation is over: the old key is dropped."""
        return FingerprintKeys(self.current)


def new_keys(
    key_id: str = "", *, random_bytes: Callable[[int], bytes] = os.urandom
) -> FingerprintKeys:
    """A first version; without an id, one by chance."""
    name = key_id or f"local-{random_bytes(6).hex()}"
    return FingerprintKeys(FingerprintKey(key_id=name, version=1, key=random_bytes(KEY_BYTES)))


def estimated_bits(secret: bytes) -> float:
    """How many bits of chance a secret is likely to hold, from its own text, cautiously.

    Shannon's entropy of its bytes times its length; words and what is repeated count little.
    Words are text in any encoding with one byte a letter, or in UTF-8.
    """
    if not secret:
        return 0.0
    folded = _REPEATED.sub(rb"\1", secret)
    if _WORDS.fullmatch(folded) and not _is_binary(secret):
        return _BITS_OF_A_LETTER_IN_WORDS * len(folded)
    length = len(folded)
    each = -sum(n / length * math.log2(n / length) for n in Counter(folded).values())
    return each * length


def _is_binary(secret: bytes) -> bool:
    if not _CONTROLS.search(secret):
        return False
    try:
        secret.decode()
    except UnicodeDecodeError:
        return True
    return False


# --- the key file --------------------------------------------------------------------------


class _StoredKey(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    key: str


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    id: str
    keys: list[_StoredKey]


def read_keys(path: Path) -> FingerprintKeys:
    """Read a key file. Raises ``FingerprintKeyInvalid``; ``FileNotFoundError`` if there is none."""
    try:
        status = path.stat()
        content = files.read_bounded(path, maximum=_MAXIMUM_FILE_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FingerprintKeyInvalid(
            f"The fingerprint key {path} cannot be read: {os.strerror(error.errno or 0)}."
        ) from None
    if status.st_mode & 0o077:
        raise FingerprintKeyInvalid(
            f"The fingerprint key {path} can be read by others.", advice=f"chmod 600 {path}"
        )
    try:
        stored = msgspec.json.decode(content, type=_KeyFile)
        keys = [
            FingerprintKey(
                key_id=stored.id,
                version=item.version,
                key=base64.b64decode(item.key, validate=True),
            )
            for item in stored.keys
        ]
    except (msgspec.DecodeError, binascii.Error, UnicodeEncodeError, RecursionError):
        raise FingerprintKeyInvalid(f"{path} is not a fingerprint key.") from None
    if stored.format != KEY_FILE_FORMAT or not keys or len(keys) > 2:  # noqa: PLR2004 - current, previous
        raise FingerprintKeyInvalid(f"{path} is not a fingerprint key of a form known here.")
    return FingerprintKeys(*keys)


def key_file(keys: FingerprintKeys) -> bytes:
    """What a key file holds; to be written with mode 0600."""
    stored = _KeyFile(
        format=KEY_FILE_FORMAT,
        id=keys.current.id,
        keys=[
            _StoredKey(key.version, base64.b64encode(key.danger_bytes()).decode())
            for key in (keys.current, keys.previous)
            if key is not None
        ],
    )
    return msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"


def local_keys(path: Path) -> FingerprintKeys:
    """This machine's own key, made when it is first asked for. Two first scans agree on one."""
    try:
        return read_keys(path)
    except FileNotFoundError:
        files.make_private_directory(path.parent)
        files.create(path, key_file(new_keys()))
        return read_keys(path)
