"""Signed notes (c2sp.org/signed-note): text with signatures that name their key.

Protects: a text is taken for signed only when a key that the caller trusts has signed it; a note in
    which such a key's signature does not hold is refused as a whole.
Does not protect: signatures of unknown keys are ignored, as the format demands.
Limits: Ed25519 (type 0x01) and timestamped Ed25519 cosignatures (type 0x04); 1 MB; 64 signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keylease.errors import NoteInvalid

MAXIMUM_NOTE: Final = 1024 * 1024
_MAXIMUM_SIGNATURES: Final = 64
_DASH: Final = "\N{EM DASH} "
_KEY_ID_BYTES: Final = 4
_ED25519_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME_BYTES: Final = 8
_LATEST_TIME: Final = 2**63 - 1
_VKEY_PARTS: Final = 3


class KeyKind(IntEnum):
    """The signature type byte."""

    LOG = 0x01
    COSIGNER = 0x04


class NoteKey(msgspec.Struct, frozen=True):
    """A public key with its name: what a verifier pins. ``str()`` gives the vkey."""

    name: str
    kind: KeyKind
    public: bytes

    def __post_init__(self) -> None:
        """Raise ``NoteInvalid`` for a name or key that the format does not have."""
        if not self.name or "+" in self.name or any(map(str.isspace, self.name)):
            raise NoteInvalid("The name of a note key is empty, or has a space or a plus.")
        if not self.name.isprintable() or len(self.public) != _ED25519_BYTES:
            raise NoteInvalid("A note key is not a printable name and 32 bytes.")

    @property
    def key_id(self) -> bytes:
        """Four bytes by which a signature names the key together with the name."""
        material = self.name.encode() + b"\n" + bytes((self.kind,)) + self.public
        return hashlib.sha256(material).digest()[:_KEY_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name+hex id+base64 key``; raises ``NoteInvalid``."""
        parts = text.strip().split("+", 2)
        if len(parts) != _VKEY_PARTS:
            raise NoteInvalid(
                "A public key is not of the form name+id+key.",
                advice="`keylease audit keys` prints a log's keys in this form.",
            )
        name, key_id, encoded = parts
        material = decode_base64(encoded)
        if not material or material[0] not in set(KeyKind):
            raise NoteInvalid(f"The public key {name} is of a kind that is not supported.")
        key = cls(name, KeyKind(material[0]), material[1:])
        if key.key_id.hex() != key_id:
            raise NoteInvalid(f"The public key {name} does not match its own id.")
        return key

    def __str__(self) -> str:
        material = base64.b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line; says nothing about whether the signature holds."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line, with its line feed."""
        encoded = base64.b64encode(self.key_id + self.signature).decode()
        return f"{_DASH}{self.name} {encoded}\n"


class VerifiedSignature(msgspec.Struct, frozen=True):
    """A signature that holds."""

    key: NoteKey
    at: int | None
    """Seconds UTC at which a cosigner says it signed; None for a log's own signature."""


class UnverifiedNote(msgspec.Struct, frozen=True):
    """A note that was taken apart; nothing in it has been verified."""

    unverified_text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The note as it is stored and sent."""
        lines = "".join(signature.line for signature in self.signatures)
        return f"{self.unverified_text}\n{lines}".encode()


class OpenedNote(msgspec.Struct, frozen=True):
    """A note that at least one trusted key has signed."""

    text: str
    verified: tuple[VerifiedSignature, ...]


class NoteSigner:
    """Signs notes. ``repr`` shows the public part only."""

    def __init__(self, key: Ed25519PrivateKey, *, name: str, kind: KeyKind = KeyKind.LOG) -> None:
        self._key = key
        self.public = NoteKey(name, kind, key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"NoteSigner({self.public})"

    def sign(self, text: str, *, at: int = 0) -> NoteSignature:
        """Sign a text; a cosigner also says when (seconds UTC)."""
        if self.public.kind is KeyKind.LOG:
            signature = self._key.sign(text.encode())
        else:
            signature = at.to_bytes(_TIME_BYTES) + self._key.sign(_cosigned(text, at))
        return NoteSignature(self.public.name, self.public.key_id, signature)


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding, in its one canonical form; raises ``NoteInvalid``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid("A note holds something that is not base64.") from error
    if base64.b64encode(data).decode() != text:
        raise NoteInvalid("A note holds base64 in a form that is not canonical.")
    return data


def parse_note(data: bytes) -> UnverifiedNote:
    """Take a note apart; raises ``NoteInvalid``."""
    if len(data) > MAXIMUM_NOTE:
        raise NoteInvalid("A signed note is too long.")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise NoteInvalid("A signed note is not UTF-8.") from error
    if any(character < " " and character != "\n" for character in whole):
        raise NoteInvalid("A signed note holds control characters.")
    text, separator, lines = whole.rpartition("\n\n")
    if not separator or not text or not lines.endswith("\n"):
        raise NoteInvalid("This is not a signed note: a text, an empty line, signatures.")
    return UnverifiedNote(text + "\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Read signature lines alone; raises ``NoteInvalid``."""
    found = lines.removesuffix("\n").split("\n")
    if len(found) > _MAXIMUM_SIGNATURES:
        raise NoteInvalid("A signed note has too many signatures.")
    return tuple(_signature(line) for line in found)


def open_note(data: bytes, keys: Iterable[NoteKey]) -> OpenedNote:
    """The text of a note that a trusted key signed, and every signature of a trusted key.

    Raises ``NoteInvalid`` when there is none, or when the signature of a trusted key is wrong.
    """
    note = parse_note(data)
    known = {(key.name, key.key_id): key for key in keys}
    verified: list[VerifiedSignature] = []
    for signature in note.signatures:
        key = known.pop((signature.name, signature.key_id), None)
        if key is not None:
            verified.append(check_signature(note.unverified_text, signature, key))
    if not verified:
        raise NoteInvalid("None of the trusted keys has signed this note.")
    return OpenedNote(note.unverified_text, tuple(verified))


def check_signature(text: str, signature: NoteSignature, key: NoteKey) -> VerifiedSignature:
    """Raise ``NoteInvalid`` unless ``key`` made this signature over ``text``."""
    at: int | None = None
    signed, raw = text.encode(), signature.signature
    if key.kind is KeyKind.COSIGNER:
        at = int.from_bytes(raw[:_TIME_BYTES])
        raw = raw[_TIME_BYTES:]
        signed = _cosigned(text, at)
    public = Ed25519PublicKey.from_public_bytes(key.public)
    if len(raw) != _SIGNATURE_BYTES or (at or 0) > _LATEST_TIME:
        raise NoteInvalid(f"The signature of {key.name} is malformed.")
    try:
        public.verify(raw, signed)
    except InvalidSignature as error:
        raise NoteInvalid(f"The signature of {key.name} does not hold.") from error
    return VerifiedSignature(key, at)


def _cosigned(text: str, at: int) -> bytes:
    """The message of c2sp.org/tlog-cosignature, version 1."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _signature(line: str) -> NoteSignature:
    if not line.startswith(_DASH):
        raise NoteInvalid("A signed note has a line among its signatures that is none.")
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    data = decode_base64(encoded)
    if not name or not separator or len(data) <= _KEY_ID_BYTES:
        raise NoteInvalid("A signed note has a malformed signature line.")
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])
