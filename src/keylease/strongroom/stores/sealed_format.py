"""The form of ``sealed.json``, format 1, and the cryptography over it. No file is touched here.

    store key (32 bytes, from the key file or by Argon2id from a passphrase)
      |-- HKDF "wrap"    wraps a random data key per entry      AES-256-GCM
      |-- HKDF "index"   authenticates the whole file           HMAC-SHA-256
      `-- HKDF "check"   tells a wrong key from a changed file  HMAC-SHA-256, 16 bytes

Protects: the secrets, and the name, provider, hosts and date of each entry, against reading,
    changing, relabelling, swapping, removing or bringing back single entries.
Does not protect: names, providers, hosts and dates are readable; replacing the whole file by an
    older whole file is not noticed, since nothing outside it counts.
Limits: 10,000 entries; 64 KiB per secret; random 96-bit nonces, one per fresh data key.

Stored: append-only. A change of meaning is a new format number.
"""

from __future__ import annotations

import hmac
import os
from typing import Final, NoReturn

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keylease.errors import SealedKeyWrong, SealedStoreCorrupt, SealedStoreError
from keylease.strongroom.secrets import Secret

SEALED_FORMAT: Final = 1
KEY_BYTES: Final = 32
MAXIMUM_ENTRIES: Final = 10_000
MAXIMUM_SECRET_BYTES: Final = 64 * 1024
MAXIMUM_FILE_BYTES: Final = 64 * 1024 * 1024
_NONCE_BYTES: Final = 12
_CHECK_BYTES: Final = 16
_LABEL: Final = "keylease sealed store"


class KeyFileLock(
    msgspec.Struct, frozen=True, kw_only=True, tag="key-file", forbid_unknown_fields=True
):
    """The store key is what the key file holds."""


class PassphraseLock(
    msgspec.Struct, frozen=True, kw_only=True, tag="passphrase", forbid_unknown_fields=True
):
    """The store key is derived by Argon2id (RFC 9106) with these parameters."""

    salt: bytes
    iterations: int
    lanes: int
    memory_kib: int


Lock = KeyFileLock | PassphraseLock


class SealedEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret. Everything but the four byte strings is bound to them as associated data."""

    name: str
    provider: str
    hosts: tuple[str, ...]
    created_at: int
    """Microseconds UTC."""
    key_nonce: bytes
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes


class SealedIndex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    format: int
    store_id: str
    created_at: int
    generation: int
    """Counts the writes."""
    lock: Lock
    key_check: bytes
    entries: tuple[SealedEntry, ...]
    mac: bytes


class StoreKeys:
    """The keys derived from the store key of one store."""

    def __init__(self, store_key: Secret, *, store_id: str) -> None:
        self.store_id = store_id
        self._wrap = _derive(store_key, store_id=store_id, use="wrap")
        self._index = _derive(store_key, store_id=store_id, use="index")
        self._check = _derive(store_key, store_id=store_id, use="check")

    def key_check(self, lock: Lock) -> bytes:
        """What shows that this is the right key for a store with this lock."""
        key = self._check.reveal(why="compute the key check")
        return hmac.digest(key, msgspec.json.encode(lock), "sha256")[:_CHECK_BYTES]

    def mac(self, index: SealedIndex) -> bytes:
        """The authentication of the whole file, without its ``mac``."""
        content = msgspec.json.encode(msgspec.structs.replace(index, mac=b""))
        return hmac.digest(self._index.reveal(why="authenticate the index"), content, "sha256")

    def open_data_key(self, entry: SealedEntry) -> bytes:
        """Unwrap the data key of an entry; raises ``InvalidTag``."""
        cipher = AESGCM(self._wrap.reveal(why="unwrap a data key"))
        bound = _bound(self.store_id, "data key", entry)
        return cipher.decrypt(entry.key_nonce, entry.wrapped_key, bound)

    def wrap_data_key(self, data_key: bytes, *, nonce: bytes, bound: bytes) -> bytes:
        """Wrap the data key of an entry."""
        return AESGCM(self._wrap.reveal(why="wrap a data key")).encrypt(nonce, data_key, bound)

    def wipe(self) -> None:
        """Zero the keys, best effort."""
        for key in (self._wrap, self._index, self._check):
            key.wipe()


def encode(index: SealedIndex) -> bytes:
    """The one byte sequence that stands for ``index``."""
    return msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n"


def decode(content: bytes) -> SealedIndex:
    """Read a file's form; nothing is authenticated yet. Raises ``SealedStoreCorrupt``.

    Only what ``encode`` writes is accepted, so that two readers never see two meanings.
    """
    _refuse_newer(content)
    try:
        index = msgspec.json.decode(content, type=SealedIndex)
        canonical = encode(index) == content
    except (msgspec.MsgspecError, UnicodeDecodeError):
        canonical = False
    if not canonical:
        _corrupt("it is not of the form that Keylease writes")
    names = [entry.name for entry in index.entries]
    if len(set(names)) != len(names) or len(names) > MAXIMUM_ENTRIES:
        _corrupt("a name occurs twice, or there are too many")
    return index


def verify(index: SealedIndex, keys: StoreKeys) -> None:
    """Show that ``keys`` are the right ones and that nothing was changed.

    1. the key check: raises ``SealedKeyWrong``; 2. the whole file: raises ``SealedStoreCorrupt``.
    """
    if not hmac.compare_digest(index.key_check, keys.key_check(index.lock)):
        kind = "passphrase" if isinstance(index.lock, PassphraseLock) else "key file"
        raise SealedKeyWrong(
            f"The {kind} is not the one that sealed this store.",
            advice=f"Put the right {kind} back; without it nothing in the store can be read.",
        )
    if not hmac.compare_digest(index.mac, keys.mac(index)):
        _corrupt("it was changed by something other than Keylease")


def signed(index: SealedIndex, keys: StoreKeys) -> SealedIndex:
    """``index`` with the key check and the authentication of what it now says."""
    checked = msgspec.structs.replace(index, key_check=keys.key_check(index.lock))
    return msgspec.structs.replace(checked, mac=keys.mac(checked))


def seal(
    secret: Secret,
    keys: StoreKeys,
    *,
    name: str,
    provider: str,
    hosts: tuple[str, ...],
    created_at: int,
) -> SealedEntry:
    """Encrypt ``secret`` under a fresh data key, and that under the store's."""
    if not 0 < len(secret) <= MAXIMUM_SECRET_BYTES:
        raise SealedStoreError(
            f"A sealed secret has 1 to {MAXIMUM_SECRET_BYTES} bytes, not {len(secret)}.",
            advice="Enter the key alone.",
        )
    key_nonce, nonce = os.urandom(_NONCE_BYTES), os.urandom(_NONCE_BYTES)
    entry = SealedEntry(
        name=name,
        provider=provider,
        hosts=hosts,
        created_at=created_at,
        key_nonce=key_nonce,
        wrapped_key=b"",
        nonce=nonce,
        ciphertext=b"",
    )
    data_key = os.urandom(KEY_BYTES)
    return msgspec.structs.replace(
        entry,
        wrapped_key=keys.wrap_data_key(
            data_key, nonce=key_nonce, bound=_bound(keys.store_id, "data key", entry)
        ),
        ciphertext=AESGCM(data_key).encrypt(
            nonce, secret.reveal(why="seal it"), _bound(keys.store_id, "secret", entry)
        ),
    )


def unseal(entry: SealedEntry, keys: StoreKeys) -> Secret:
    """Decrypt an entry; raises ``SealedStoreCorrupt`` when anything about it was changed."""
    try:
        data_key = keys.open_data_key(entry)
        bound = _bound(keys.store_id, "secret", entry)
        return Secret(AESGCM(data_key).decrypt(entry.nonce, entry.ciphertext, bound))
    except (InvalidTag, ValueError):
        pass
    return _corrupt(f"the entry {entry.name} was changed")


def _bound(store_id: str, part: str, entry: SealedEntry) -> bytes:
    # A JSON array of strings and numbers: no two lists of values give the same bytes.
    return msgspec.json.encode(
        (
            _LABEL,
            SEALED_FORMAT,
            store_id,
            part,
            entry.name,
            entry.provider,
            entry.hosts,
            entry.created_at,
        )
    )


def _derive(store_key: Secret, *, store_id: str, use: str) -> Secret:
    derivation = HKDF(
        algorithm=hashes.SHA256(),
        length=KEY_BYTES,
        salt=store_id.encode(),
        info=f"{_LABEL} {SEALED_FORMAT}: {use}".encode(),
    )
    return Secret(derivation.derive(store_key.reveal(why="derive the store's keys")))


class _AnyFormat(msgspec.Struct):
    format: int


def _refuse_newer(content: bytes) -> None:
    try:
        number = msgspec.json.decode(content, type=_AnyFormat).format
    except (msgspec.MsgspecError, UnicodeDecodeError):
        number = -1
    if number > SEALED_FORMAT:
        raise SealedStoreError(
            f"The sealed store has format {number}; this version reads {SEALED_FORMAT}.",
            advice="Use the version of Keylease that wrote it, or a newer one.",
        )
    if number != SEALED_FORMAT:
        _corrupt("it is not of the form that Keylease writes")


def _corrupt(reason: str) -> NoReturn:
    raise SealedStoreCorrupt(
        f"The sealed store is damaged: {reason}.",
        advice="Bring sealed.json back from a back-up; its secrets are not used as it is.",
    )
