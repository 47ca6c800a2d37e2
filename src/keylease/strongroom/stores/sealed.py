"""``sealed://name``: the embedded store, one encrypted file on this machine.

Protects: secrets at rest, against whoever gets the data directory, a back-up of it or the disk
    without the key file or passphrase; and against changes of the file (see ``sealed_format``).
Does not protect: against another process of the same user; against the whole file being replaced
    by an older whole file.
Limits: one machine. Writers wait for each other; readers never wait.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from keylease.contracts.references import Reference
from keylease.errors import (
    ReferenceInvalid,
    SealedKeyMissing,
    SealedKeyWrong,
    SealedStoreCorrupt,
    SealedStoreError,
    SecretNotFound,
    StoreTimedOut,
)
from keylease.primitives import files
from keylease.primitives.clock import Clock, isoformat
from keylease.primitives.identifiers import uuid7
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import sealed_format
from keylease.strongroom.stores.blocking import BlockingCalls
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.sealed_format import (
    PassphraseLock,
    SealedEntry,
    SealedIndex,
    StoreKeys,
)
from keylease.strongroom.stores.sealing_key import KeyFile, KeySource

FILE_NAME: Final = "sealed.json"
LOCK_SECONDS: Final = 10.0
_REMOVE: Final = "`keylease secret remove NAME` makes room."
_FITTING_ATTEMPTS: Final = 3
_FITTING_PAUSE: Final = 0.03
"""Seconds."""


class SealedSecretInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What may be known about an entry without opening it."""

    name: str
    provider: str
    """Empty when the entry is not bound to a provider."""
    hosts: tuple[str, ...]
    """The hosts it may be sent to; a binding that names another must be refused."""
    created_at: int
    """Microseconds UTC of the last ``put``."""

    @property
    def version(self) -> str:
        """The name of this version: the moment it was put."""
        return isoformat(self.created_at)


class SealedStore:
    """The sealed file at ``<data>/strongroom/sealed.json``.

    Methods other than ``fetch`` block, and raise ``SealedStoreError`` and its kinds, or
    ``StorageError`` when the disk fails; nothing was changed then.
    """

    scheme: ClassVar[str] = "sealed"

    def __init__(
        self,
        path: Path,
        *,
        key_source: KeySource,
        clock: Clock,
        timeout_seconds: float = 5.0,
    ) -> None:
        self.path = path
        self._key_source = key_source
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._calls = BlockingCalls("sealed-store")
        self._keys: StoreKeys | None = None
        self._keys_guard = threading.Lock()

    # --- reading ----------------------------------------------------------------------------

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Open the entry ``reference.path``."""
        try:
            return await self._calls.call(
                lambda: self.get(reference.path), seconds=self._timeout_seconds
            )
        except TimeoutError:
            raise StoreTimedOut(
                f"The sealed store could not be read in {self._timeout_seconds:g} seconds.",
                advice="Check the disk that holds the data directory.",
            ) from None

    async def close(self) -> None:
        """Wipe the store's keys."""
        with self._keys_guard:
            if self._keys is not None:
                self._keys.wipe()
            self._keys = None

    def get(self, name: str) -> FetchedSecret:
        """Open one entry."""
        fetched_at = self._clock.now()
        index, keys = self._opened()
        entry = _find(index, name)
        secret = sealed_format.unseal(entry, keys)
        return FetchedSecret(secret=secret, version=_info(entry).version, fetched_at=fetched_at)

    def describe(self, name: str) -> SealedSecretInfo:
        """The provider and hosts that an entry was recorded with. Raises ``SecretNotFound``."""
        index, _ = self._opened()
        return _info(_find(index, name))

    def entries(self) -> tuple[SealedSecretInfo, ...]:
        """Every entry, by name; nothing is decrypted, everything is authenticated."""
        if not self.path.exists():
            return ()
        index, _ = self._opened()
        return tuple(_info(entry) for entry in index.entries)

    def signature(self, _reference: Reference) -> tuple[int, ...] | None:
        """What changes when the file does; ``None`` when there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    # --- writing ----------------------------------------------------------------------------

    def check_name(self, name: str, *, replace: bool) -> None:
        """Raise what ``put`` would raise about the name, before anybody enters a secret."""
        _check_name(name)
        if not replace and any(entry.name == name for entry in self.entries()):
            raise _already(name)

    def put(
        self,
        name: str,
        secret: Secret,
        *,
        provider: str,
        hosts: tuple[str, ...],
        replace: bool = False,
    ) -> SealedSecretInfo:
        """Seal ``secret`` under ``name``; durable on return. Makes store and key on first use."""
        _check_name(name)
        with self._writing() as (index, keys):
            old = next((entry for entry in index.entries if entry.name == name), None)
            if old is not None and not replace:
                raise _already(name)
            if len(index.entries) >= sealed_format.MAXIMUM_ENTRIES:
                raise SealedStoreError(
                    f"The sealed store is full: {sealed_format.MAXIMUM_ENTRIES} entries.",
                    advice=_REMOVE,
                )
            # Also the version's name, so it must change even when the machine's clock went back.
            created_at = max(self._clock.now(), old.created_at + 1 if old else 0)
            entry = sealed_format.seal(
                secret,
                keys,
                name=name,
                provider=provider,
                hosts=tuple(hosts),
                created_at=created_at,
            )
            others = (other for other in index.entries if other.name != name)
            self._write(index, keys, entries=(*others, entry))
        return _info(entry)

    def remove(self, name: str) -> None:
        """Forget an entry; durable on return. Raises ``SecretNotFound``.

        Its bytes may stay in free blocks of the disk, encrypted as they were.
        """
        if not self.path.exists():
            raise _not_found(name)
        with self._writing() as (index, keys):
            _find(index, name)
            self._write(index, keys, entries=tuple(e for e in index.entries if e.name != name))

    def rekey(self, new_source: KeySource) -> None:
        """Seal everything again, with new data keys, under a new key.

        A new key file waits beside its place until the store has been written, so a crash at any
        step leaves a store that one of the two opens. The old key still opens older copies.
        """
        if not self.path.exists():
            raise SealedStoreError(
                "There is no sealed store yet.", advice="`keylease secret put NAME` makes one."
            )
        with self._writing() as (index, keys):
            lock = new_source.new_lock()
            if isinstance(new_source, KeyFile):
                self._refuse_foreign_file(new_source)
                store_key = new_source.prepare_next()
            else:
                (store_key,) = new_source.keys_for(lock)
            new_keys = StoreKeys(store_key, store_id=index.store_id)
            entries = tuple(_sealed_again(entry, keys, new_keys) for entry in index.entries)
            self._write(msgspec.structs.replace(index, lock=lock), new_keys, entries=entries)
            if isinstance(new_source, KeyFile):
                new_source.promote_next()
            self._key_source = new_source
            self._remember(new_keys)

    # --- the file ---------------------------------------------------------------------------

    def _read(self) -> SealedIndex:
        try:
            content = files.read_bounded(self.path, maximum=sealed_format.MAXIMUM_FILE_BYTES)
        except FileNotFoundError:
            raise SecretNotFound(
                "There is no sealed store yet.",
                advice="`keylease secret put NAME` makes one.",
            ) from None
        except OSError as error:
            raise SealedStoreError(
                f"The sealed store {self.path} cannot be read: {error.strerror}.",
                advice="It must belong to the user that the gateway runs as.",
            ) from None
        if len(content) > sealed_format.MAXIMUM_FILE_BYTES:
            raise SealedStoreCorrupt(
                "The sealed store is damaged: it is far too large.",
                advice="Bring sealed.json back from a back-up.",
            )
        return sealed_format.decode(content)

    def _opened(self) -> tuple[SealedIndex, StoreKeys]:
        """The authenticated file and its keys.

        Tried again after a moment when the two do not fit: another process may be sealing the
        store again, between our reading the one and the other.
        """
        for _ in range(_FITTING_ATTEMPTS - 1):
            try:
                index = self._read()
                return index, self._unlocked(index)
            except (SealedKeyWrong, SealedKeyMissing):
                time.sleep(_FITTING_PAUSE)
        index = self._read()
        return index, self._unlocked(index)

    def _unlocked(self, index: SealedIndex) -> StoreKeys:
        with self._keys_guard:
            held = self._keys
        if held is not None and held.store_id == index.store_id:
            # Held keys spare the key derivation. When they do not fit, the store was sealed
            # again by another process, and the key source has the new ones.
            with contextlib.suppress(SealedKeyWrong):
                sealed_format.verify(index, held)
                return held
        wrong: SealedKeyWrong | None = None
        for store_key in self._key_source.keys_for(index.lock):
            keys = StoreKeys(store_key, store_id=index.store_id)
            try:
                sealed_format.verify(index, keys)
            except SealedKeyWrong as error:
                wrong = error
                continue
            self._remember(keys)
            return keys
        raise wrong or SealedKeyWrong(
            "There is no key for the sealed store.",
            advice="Bring the key file back from where you keep a copy.",
        )

    def _remember(self, keys: StoreKeys) -> None:
        with self._keys_guard:
            self._keys = keys

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[SealedIndex, StoreKeys]]:
        files.make_private_directory(self.path.parent)
        lock_path = self.path.with_name(f"{self.path.name}.lock")
        with files.locked(lock_path, seconds=LOCK_SECONDS):
            files.remove_leftovers(self.path)
            if self.path.exists():
                index, keys = self._opened()
                self._finish_rekey(index)
            else:
                index, keys = self._new()
            yield index, keys

    def _finish_rekey(self, index: SealedIndex) -> None:
        """Put a key in waiting in its place when a crash kept it from getting there."""
        source = self._key_source
        if not isinstance(source, KeyFile) or not source.next_path.exists():
            return
        waiting = source.keys_for(index.lock)[-1]
        try:
            sealed_format.verify(index, StoreKeys(waiting, store_id=index.store_id))
        except SealedKeyWrong:
            return  # the crash came before the store was written; the next rekey overwrites it
        source.promote_next()

    def _new(self) -> tuple[SealedIndex, StoreKeys]:
        source = self._key_source
        lock = source.new_lock()
        store_id = uuid7(self._clock)
        if isinstance(source, KeyFile):
            store_key = source.create()
        else:
            (store_key,) = source.keys_for(lock)
        keys = StoreKeys(store_key, store_id=store_id)
        self._remember(keys)
        index = SealedIndex(
            format=sealed_format.SEALED_FORMAT,
            store_id=store_id,
            created_at=self._clock.now(),
            generation=0,
            lock=lock,
            key_check=b"",
            entries=(),
            mac=b"",
        )
        return index, keys

    def _write(
        self, index: SealedIndex, keys: StoreKeys, *, entries: tuple[SealedEntry, ...]
    ) -> None:
        ordered = tuple(sorted(entries, key=lambda entry: entry.name))
        changed = msgspec.structs.replace(index, entries=ordered, generation=index.generation + 1)
        content = sealed_format.encode(sealed_format.signed(changed, keys))
        if len(content) > sealed_format.MAXIMUM_FILE_BYTES:
            raise SealedStoreError("The sealed store is full.", advice=_REMOVE)
        files.replace(self.path, content)

    def _refuse_foreign_file(self, new_source: KeyFile) -> None:
        ours = self._key_source
        same = isinstance(ours, KeyFile) and ours.path.resolve() == new_source.path.resolve()
        if new_source.path.exists() and not same:
            raise SealedStoreError(
                f"There is already a file {new_source.path}.",
                advice="Name a new file, or move that one away.",
            )


def locked_by_passphrase(path: Path) -> bool:
    """Whether the store at ``path`` says that a passphrase opens it; nothing is authenticated."""
    try:
        content = files.read_bounded(path, maximum=sealed_format.MAXIMUM_FILE_BYTES)
    except OSError:
        return False  # opening the store says what is wrong with the file
    return isinstance(sealed_format.decode(content).lock, PassphraseLock)


def _sealed_again(entry: SealedEntry, keys: StoreKeys, new_keys: StoreKeys) -> SealedEntry:
    return sealed_format.seal(
        sealed_format.unseal(entry, keys),
        new_keys,
        name=entry.name,
        provider=entry.provider,
        hosts=entry.hosts,
        created_at=entry.created_at,
    )


def _find(index: SealedIndex, name: str) -> SealedEntry:
    for entry in index.entries:
        if entry.name == name:
            return entry
    raise _not_found(name)


def _not_found(name: str) -> SecretNotFound:
    return SecretNotFound(
        f"There is no sealed secret named {name}.",
        advice=f"`keylease secret put {name}` makes one; `keylease secret list` shows all.",
    )


def _already(name: str) -> SealedStoreError:
    return SealedStoreError(
        f"There is already a sealed secret named {name}.",
        advice="Add --replace to put a new value in its place.",
    )


def _info(entry: SealedEntry) -> SealedSecretInfo:
    return SealedSecretInfo(
        name=entry.name, provider=entry.provider, hosts=entry.hosts, created_at=entry.created_at
    )


def _check_name(name: str) -> None:
    try:
        Reference.parse(f"sealed://{name}")
    except ReferenceInvalid:
        raise SealedStoreError(
            "That is no name for a sealed secret.",
            advice="Use letters, digits, dots, dashes and underscores, at most 128 of them.",
        ) from None
