"""This gateway as a witness of its organization's audit log.

    <data>/strongroom/platform/witness-key   32 bytes of Ed25519 in base64url, mode 0600
    <data>/strongroom/platform/witness/      what was witnessed (``transparency.witness``)
    <data>/strongroom/platform/witnessed     the name of the one log that is witnessed

Protects: once this gateway has cosigned a checkpoint, the platform cannot shrink the log, set it
    back, show a second history or begin another log without being refused. What was contradictory
    is kept, logged, and an audit entry.
Does not protect: on the platform's own machine a witness proves nothing to others; the platform
    reports such a one as not independent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.contracts import platform_link as wire
from keylease.errors import (
    KeyleaseError,
    NoteInvalid,
    SignatureInvalid,
    StorageCorrupt,
    WitnessRefused,
)
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.primitives.signatures import decode_base64url, encode_base64url
from keylease.primitives.transparency.notes import KeyKind, NoteKey, NoteSigner
from keylease.primitives.transparency.witness import Witness

_KEY: Final = "witness-key"
_DIRECTORY: Final = "witness"
_ORIGIN: Final = "witnessed"
_MAXIMUM: Final = 1024


class AuditWitness:
    """One per gateway. Its files are made with the first checkpoint."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        """``directory`` is that of the link."""
        self._directory = directory
        self._clock = clock
        self._witness: Witness | None = None
        self.witnessed = wire.WitnessedSize()
        self._signing = asyncio.Lock()

    async def load(self, gateway_id: str) -> None:
        """Look how much was witnessed before. Raises ``StorageError``."""
        async with self._signing:
            await asyncio.to_thread(self._open, gateway_id)

    async def cosign(self, offer: wire.CheckpointOffer) -> wire.Cosignature:
        """Check a checkpoint and sign it.

        Raises ``WitnessRefused`` and ``NoteInvalid`` when the log is not what it was, and
        ``StorageError``: nothing was signed then.
        """
        async with self._signing:
            return await asyncio.to_thread(self._cosign, offer)

    def _cosign(self, offer: wire.CheckpointOffer) -> wire.Cosignature:
        witness = self._witness
        if witness is None:
            raise NoteInvalid("The witness was not opened.")
        if self.witnessed.origin not in ("", offer.origin):
            # A fresh log under another name would have no past to contradict.
            raise WitnessRefused(
                "The platform offers another audit log than the one this gateway witnesses.",
                reason="another_log",
                advice="Find out what became of the log before this gateway is enrolled anew.",
            )
        if not self.witnessed.origin:
            files.replace(self._directory / _ORIGIN, offer.origin.encode() + b"\n")
        witness.introduce(NoteKey.parse(offer.log_key), offer.rotations)
        signature = witness.cosign(offer.checkpoint, old_size=offer.old_size, proof=offer.proof)
        self.witnessed = wire.WitnessedSize(origin=offer.origin, size=offer.size)
        return wire.Cosignature(
            origin=offer.origin,
            size=offer.size,
            line=signature.line,
            witness_key=str(witness.key),
        )

    def _open(self, gateway_id: str) -> None:
        name = f"keylease-gateway/{gateway_id}"
        signer = NoteSigner(self._key(), name=name, kind=KeyKind.COSIGNER)
        self._witness = Witness(self._directory / _DIRECTORY, signer, clock=self._clock)

        origin = self._origin()
        size = self._witness.size(origin) if origin else 0
        self.witnessed = wire.WitnessedSize(origin=origin, size=size)

    def _origin(self) -> str:
        path = self._directory / _ORIGIN
        try:
            return files.read_bounded(path, maximum=_MAXIMUM).decode().strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise StorageCorrupt(
                f"{path} cannot be read.",
                advice="Put it back from a back-up; forgetting it would allow a rollback.",
            ) from error

    def _key(self) -> Ed25519PrivateKey:
        path = self._directory / _KEY
        try:
            data = files.read_bounded(path, maximum=_MAXIMUM)
        except FileNotFoundError:
            key = Ed25519PrivateKey.generate()
            files.make_private_directory(self._directory)
            files.replace(path, encode_base64url(key.private_bytes_raw()) + b"\n")
            return key
        except OSError as error:
            raise files.explained(error, path) from error
        try:
            return Ed25519PrivateKey.from_private_bytes(decode_base64url(data.strip()))
        except (SignatureInvalid, ValueError) as error:
            raise StorageCorrupt(
                f"{path} does not hold a key.",
                advice="Put it back from a back-up; a new witness key is another witness.",
            ) from error


def reason_of(error: KeyleaseError) -> str:
    """Why a checkpoint was not signed: the witness's own reason, or the error's code."""
    return str(getattr(error, "reason", "")) or error.code
