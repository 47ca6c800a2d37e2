"""Names for versions of secrets, where a store has none of its own.

Two fetches of the same secret get the same name, also after a restart; a changed secret gets
another. The name is a keyed digest under a random key that stays in the strongroom's data
directory, so whoever reads a call record cannot use it to confirm a guess of the secret, and equal
secrets behind two references cannot be told to be equal.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

from keylease.contracts.references import Reference
from keylease.errors import StorageCorrupt, StorageError
from keylease.primitives import files
from keylease.strongroom.secrets import Secret

FILE_NAME: Final = "version-digest.key"
_KEY_BYTES: Final = 32
_DIGITS: Final = 12


class VersionNames:
    """Names versions by keyed digest: ``digest-`` and twelve hex digits."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    @classmethod
    def load(cls, strongroom_directory: Path, *, random_bytes: bytes) -> VersionNames:
        """Read the key, or keep ``random_bytes`` (32 of them) as the key on first use.

        Raises ``StorageError`` or ``StorageCorrupt``. Losing the file is harmless: the same secrets
        get new names once.
        """
        path = strongroom_directory / FILE_NAME
        files.make_private_directory(strongroom_directory)
        if not path.exists():
            files.create(path, random_bytes)
        try:
            key = files.read_bounded(path, maximum=_KEY_BYTES)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be read: {error.strerror}.",
                advice="It must belong to the user that the gateway runs as.",
            ) from None
        if len(key) != _KEY_BYTES:
            raise StorageCorrupt(
                f"{path} is damaged.",
                advice="Delete it; a new one is made at the next start. No secret is lost.",
            )
        return cls(Secret(key))

    def name(self, reference: Reference, secret: Secret) -> str:
        """The name of this version of the secret at ``reference``."""
        label = str(reference).encode()
        digest = hmac.new(self._key.reveal(why="name a version"), digestmod="sha256")
        digest.update(len(label).to_bytes(4) + label)
        digest.update(secret.reveal(why="name its version by keyed digest"))
        return f"digest-{digest.hexdigest()[:_DIGITS]}"
