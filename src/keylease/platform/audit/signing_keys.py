"""The keys that sign checkpoints: one Ed25519 key for each log, in the platform's own directory.

These are no provider keys: whoever has one can sign a false history of one log, which a witness
contradicts. A key is made with its log and replaced by ``rotate`` only; when the file is gone, no
new key is made in silence, because every reader has pinned the old one.

    <log id>.key        PEM (PKCS #8), 0600
    <log id>.next.key   while a rotation is under way

A rotation is the note in the log's ``rotations`` file: before it is there, the old key is in force
and a next key is forgotten; after it, the next key is, whatever file a crash left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keylease.errors import StorageCorrupt
from keylease.primitives.files import (
    create,
    explained,
    make_private_directory,
    read_bounded,
    replace,
    sync_directory,
)
from keylease.primitives.transparency.checkpoints import TreeHead
from keylease.primitives.transparency.directory import ROTATIONS, LogWriter
from keylease.primitives.transparency.log_keys import join_notes, sign_rotation, split_notes
from keylease.primitives.transparency.notes import NoteSigner, parse_note

_MAXIMUM_KEY_FILE: Final = 4096


class SigningKeys:
    """The key files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        make_private_directory(directory)

    def make(self, log_id: str, *, origin: str) -> NoteSigner:
        """The key of a log that is not begun; one that a crash left is used."""
        path = self._path(log_id)
        create(path, _pem(Ed25519PrivateKey.generate()))
        return self.load(log_id, origin=origin)

    def load(self, log_id: str, *, origin: str) -> NoteSigner:
        """The key in force. Raises ``StorageCorrupt`` when its file is gone or damaged."""
        return NoteSigner(self._read(self._path(log_id)), name=origin)

    def settle(self, log_id: str, *, origin: str, rotations: bytes) -> NoteSigner:
        """The key in force, after finishing or forgetting a rotation that was interrupted."""
        following = self._path(log_id, following=True)
        if following.exists():
            signer = NoteSigner(self._read(following), name=origin)
            notes = split_notes(rotations)
            if notes and str(signer.public) in parse_note(notes[-1]).unverified_text.split("\n"):
                self._take_over(following, self._path(log_id))
            else:
                self._remove(following)
        return self.load(log_id, origin=origin)

    def rotate(self, log_id: str, writer: LogWriter, *, head: TreeHead) -> NoteSigner:
        """Make a new key which the old one vouches for from ``head`` on."""
        old = self.load(log_id, origin=head.origin)
        following = self._path(log_id, following=True)
        replace(following, _pem(Ed25519PrivateKey.generate()))
        new = NoteSigner(self._read(following), name=head.origin)
        notes = split_notes(writer.directory.read(ROTATIONS) or b"")
        writer.store(ROTATIONS, join_notes([*notes, sign_rotation(head, old=old, new=new)]))
        self._take_over(following, self._path(log_id))
        return new

    def _path(self, log_id: str, *, following: bool = False) -> Path:
        return self._directory / f"{log_id}{'.next' if following else ''}.key"

    def _read(self, path: Path) -> Ed25519PrivateKey:
        try:
            key = load_pem_private_key(read_bounded(path, maximum=_MAXIMUM_KEY_FILE), password=None)
        except FileNotFoundError as error:
            raise StorageCorrupt(
                f"The key that signs this audit log, {path}, is gone.",
                advice="Restore it from a back-up: a new key would look like a forged log.",
            ) from error
        except ValueError as error:
            raise StorageCorrupt(f"{path} is not a key file.") from error
        except OSError as error:
            raise explained(error, path) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise StorageCorrupt(f"{path} is not an Ed25519 key.")
        return key

    def _take_over(self, following: Path, path: Path) -> None:
        try:
            following.replace(path)
            sync_directory(self._directory)
        except OSError as error:
            raise explained(error, path) from error

    def _remove(self, path: Path) -> None:
        try:
            path.unlink()
        except OSError as error:
            raise explained(error, path) from error


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
