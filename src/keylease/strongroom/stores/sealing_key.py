"""Where the key of the sealed store comes from: a key file, or a passphrase.

Protects: refuses a key file that others can read or that lies in the data directory, where every
    back-up would carry it along with what it opens.
Does not protect: against another process of the same user, who can read the key file too.
Limits: losing the key file or the passphrase loses every sealed secret. There is no way around.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keylease.errors import (
    SealedKeyExposed,
    SealedKeyMissing,
    SealedKeyWrong,
    SealedStoreCorrupt,
    SealedStoreError,
    StorageError,
)
from keylease.primitives import files
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.sealed_format import KEY_BYTES, KeyFileLock, Lock, PassphraseLock

KEY_FILE_NAME: Final = "sealing.key"
SHORTEST_PASSPHRASE: Final = 12
LONGEST_PASSPHRASE: Final = 1024
ITERATIONS: Final = 3
LANES: Final = 4
MEMORY_KIB: Final = 64 * 1024
"""The second recommended choice of RFC 9106 section 4."""
_BOUNDS: Final = {"iterations": (1, 32), "lanes": (1, 16), "memory_kib": (8 * 1024, 1024 * 1024)}
"""What a stored file may ask for: a changed file must not take the machine's memory."""
_PREFIX: Final = b"keylease-sealing-key-1:"
_LONGEST_KEY_FILE: Final = 256
_NEXT: Final = ".next"
_OTHERS: Final = 0o077


class KeyFile:
    """A store key that lies in a file of its own, mode 0600, outside the data directory."""

    def __init__(self, path: Path, *, data_directory: Path) -> None:
        self.path = path
        self._data_directory = data_directory

    @property
    def next_path(self) -> Path:
        """Where a new key waits while a store is being sealed again."""
        return self.path.with_name(self.path.name + _NEXT)

    def new_lock(self) -> Lock:
        """How a new store says that this opens it."""
        return KeyFileLock()

    def keys_for(self, lock: Lock) -> tuple[Secret, ...]:
        """The keys to try for a store with this lock: the key file's, then one in waiting."""
        if not isinstance(lock, KeyFileLock):
            raise SealedKeyWrong(
                "The sealed store is locked by a passphrase, and no passphrase was given.",
                advice="Set passphrase_file under [stores.sealed] in gateway.toml.",
            )
        self._refuse_inside_data()
        if not self.next_path.exists():
            return (self._read(self.path),)
        # A store is being sealed again, or a crash came in between: either key may be the right
        # one, and the key file itself may be half written.
        waiting = self._read(self.next_path)
        try:
            return (self._read(self.path), waiting)
        except (SealedKeyWrong, SealedKeyMissing):
            return (waiting,)

    def create(self) -> Secret:
        """The key in the file, which is made on first use."""
        self._refuse_inside_data()
        if not self.path.exists():
            files.make_private_directory(self.path.parent)
            files.create(self.path, _written(os.urandom(KEY_BYTES)))
        return self._read(self.path)

    def prepare_next(self) -> Secret:
        """Make a new key that waits beside the key file until ``promote_next``."""
        self._refuse_inside_data()
        files.make_private_directory(self.path.parent)
        files.replace(self.next_path, _written(os.urandom(KEY_BYTES)))
        if os.geteuid() == 0 and self.path.exists():
            owner = self.path.stat()
            os.chown(self.next_path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        return self._read(self.next_path)

    def promote_next(self) -> None:
        """Make the key in waiting the key.

        Written in place: a confined gateway may open this very file (its inode), and no other.
        """
        waiting = self._read(self.next_path)
        files.overwrite(self.path, _written(waiting.reveal(why="move it to its place")))
        try:
            self.next_path.unlink()
            files.sync_directory(self.path.parent)
        except OSError as error:
            raise StorageError(
                f"{self.next_path} cannot be removed: {error.strerror}.",
                advice="Nothing is lost; remove it once the store opens.",
            ) from None

    def _read(self, path: Path) -> Secret:
        trusted = {0, os.geteuid()}
        strongroom = self._data_directory / "strongroom"
        if os.geteuid() == 0 and strongroom.exists():
            # The strongroom's own user, to whom a gateway started by root gives both.
            trusted.add(strongroom.stat().st_uid)
        return _read_key_file(path, trusted=trusted)

    def _refuse_inside_data(self) -> None:
        if self.path.resolve().is_relative_to(self._data_directory.resolve()):
            raise SealedKeyExposed(
                f"The key file {self.path} lies inside the data directory.",
                advice="Keep it elsewhere, so that no back-up holds both the key and the store.",
            )


class Passphrase:
    """A store key that is derived from what a person knows."""

    def __init__(self, passphrase: Secret) -> None:
        self._passphrase = passphrase

    @classmethod
    def from_file(cls, path: Path) -> Passphrase:
        """Read a passphrase from a file or a descriptor's path; one newline at its end is cut."""
        try:
            with path.open("rb") as file:
                content = file.read(LONGEST_PASSPHRASE + 2)
        except OSError as error:
            raise SealedKeyMissing(
                f"The passphrase file {path} cannot be read: {error.strerror}.",
                advice="Check passphrase_file under [stores.sealed] in gateway.toml.",
            ) from None
        return cls(Secret(content.removesuffix(b"\n").removesuffix(b"\r")))

    def new_lock(self) -> Lock:
        """Parameters for a new store; refuses a passphrase that is too short to be one."""
        if not SHORTEST_PASSPHRASE <= len(self._passphrase) <= LONGEST_PASSPHRASE:
            raise SealedStoreError(
                f"A passphrase has {SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE} bytes.",
                advice="Five or more random words make a good one.",
            )
        return PassphraseLock(
            salt=os.urandom(16), iterations=ITERATIONS, lanes=LANES, memory_kib=MEMORY_KIB
        )

    def keys_for(self, lock: Lock) -> tuple[Secret, ...]:
        """Derive the key of a store with this lock. Takes about 0.1 seconds and 64 MiB."""
        if not isinstance(lock, PassphraseLock):
            raise SealedKeyWrong(
                "The sealed store is locked by a key file, and a passphrase was given.",
                advice="Remove passphrase_file from gateway.toml, or run `keylease secret rekey`.",
            )
        for parameter, (low, high) in _BOUNDS.items():
            if not low <= getattr(lock, parameter) <= high:
                raise SealedStoreCorrupt(
                    f"The sealed store is damaged: it asks for {parameter} out of bounds.",
                    advice="Bring sealed.json back from a back-up.",
                )
        if len(lock.salt) < 16:  # noqa: PLR2004 - as new_lock makes it
            raise SealedStoreCorrupt(
                "The sealed store is damaged: its salt is too short.",
                advice="Bring sealed.json back from a back-up.",
            )
        derivation = Argon2id(
            salt=lock.salt,
            length=KEY_BYTES,
            iterations=lock.iterations,
            lanes=lock.lanes,
            memory_cost=lock.memory_kib,
        )
        return (Secret(derivation.derive(self._passphrase.reveal(why="derive the store key"))),)


KeySource = KeyFile | Passphrase


def _written(key: bytes) -> bytes:
    return _PREFIX + base64.b64encode(key) + b"\n"


def _read_key_file(path: Path, *, trusted: set[int]) -> Secret:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SealedKeyMissing(
            f"The key file of the sealed store is missing: {path}.",
            advice="Bring it back from where you keep a copy; without it nothing can be read.",
        ) from None
    except OSError as error:
        raise SealedKeyMissing(
            f"The key file {path} cannot be read: {error.strerror}.",
            advice="It must belong to the user that the gateway runs as.",
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SealedKeyMissing(
                f"The key file {path} is not a regular file.",
                advice="Bring it back from where you keep a copy, or name the file itself.",
            )
        if status.st_mode & _OTHERS:
            raise SealedKeyExposed(
                f"Others can reach the key file {path} (mode {status.st_mode & 0o777:04o}).",
                advice=f"Run `chmod 600 {path}`; if others could read it, run "
                "`keylease secret rekey` and rotate the secrets.",
            )
        if status.st_uid not in trusted:
            raise SealedKeyExposed(
                f"The key file {path} belongs to another user (uid {status.st_uid}).",
                advice=f"Run `chown {os.geteuid()} {path}` if you trust it.",
            )
        content = file.read(_LONGEST_KEY_FILE)
    key = b""
    if content.startswith(_PREFIX):
        try:
            key = base64.b64decode(content[len(_PREFIX) :].strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if len(key) != KEY_BYTES:
        raise SealedKeyWrong(
            f"{path} is no key file of Keylease, or is damaged.",
            advice="Bring it back from where you keep a copy.",
        )
    return Secret(key)
