"""Witnesses from the log's side: what is offered to a gateway, and what becomes of its answer.

Protects: a cosignature is kept only if it holds, and a gateway can put its name on nothing but the
    log of its own organization.
Does not protect: a witness on this machine, or run by whoever runs the platform, shows nothing to a
    third party. ``independent`` says which ones those are; the trust report repeats it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import NoteInvalid, ResourceNotFound
from keylease.platform.audit import repository
from keylease.platform.audit.log_files import LogFiles
from keylease.platform.audit.repository import KnownLog, KnownWitness
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.primitives.files import replace
from keylease.primitives.transparency.checkpoints import (
    own_part,
    unverified_head,
    with_cosignatures,
)
from keylease.primitives.transparency.directory import WITNESSED
from keylease.primitives.transparency.notes import KeyKind, NoteKey, parse_note
from keylease.primitives.transparency.proofs import consistency_proof
from keylease.primitives.transparency.tiles import TileHashes

_MOST_WITNESSES: Final = 64


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint to witness, with the proof from what the witness has."""

    origin: str
    size: int
    checkpoint: bytes
    old_size: int
    proof: tuple[bytes, ...]
    log_key: str
    """The log's key, as a vkey; a witness pins it the first time."""
    rotations: tuple[bytes, ...]


class WitnessState(msgspec.Struct, frozen=True, kw_only=True):
    """One witness of a log, for the trust report and the status page."""

    key: str
    gateway_id: str
    independent: bool
    size: int
    behind: int
    """Entries that it has not seen."""
    at: int


class Witnessing:
    """Used by the link and by the trust report."""

    def __init__(self, database: Database, files: LogFiles) -> None:
        self._database = database
        self._files = files

    async def offer(self, organization_id: str, *, witnessed: int) -> Offer | None:
        """What a gateway that has seen ``witnessed`` entries should cosign next, if anything.

        A gateway that has seen more than there is gets the present checkpoint all the same: that
        the log was set back is for its witness to find.
        """
        async with self._database.reading() as tx:
            known = await repository.log_of(tx, organization_id)
            if known is None or known.head.size == 0:
                return None
            stored = await repository.checkpoint(tx, known.log_id, known.head.size)
        if stored is None:
            return None
        return await asyncio.to_thread(self._offer, known, stored.note, witnessed)

    def _offer(self, known: KnownLog, note: bytes, witnessed: int) -> Offer:
        head = known.head
        proof: list[bytes] = []
        if witnessed <= head.size:
            hashes = TileHashes(self._files.reader(known.log_id), head.size)
            proof = consistency_proof(hashes, old=witnessed, size=head.size)
        key, rotations = self._files.keys(known.log_id)
        return Offer(
            origin=head.origin,
            size=head.size,
            checkpoint=own_part(note),
            old_size=witnessed,
            proof=tuple(proof),
            log_key=str(key),
            rotations=tuple(rotations),
        )

    async def accept(
        self,
        caller: Caller,
        gateway_id: str,
        *,
        size: int,
        line: str,
        key: str,
        independent: bool,
    ) -> None:
        """Keep a gateway's cosignature of the checkpoint of ``size`` entries.

        ``key`` is the witness's vkey, which the link has to know as this gateway's. Raises
        ``NoteInvalid`` when the signature does not hold (which is written down), and
        ``ResourceNotFound`` for a checkpoint that is no longer kept: offer a newer one.
        """
        witness_key = NoteKey.parse(key)
        if witness_key.kind is not KeyKind.COSIGNER:
            raise NoteInvalid("A witness signs with a cosigner's key.")
        try:
            async with self._database.transaction(caller) as tx:
                await self._accept(tx, gateway_id, size, line, witness_key, independent=independent)
        except NoteInvalid as error:
            async with self._database.transaction(caller) as tx:
                await tx.record(AuditAction.AUDIT_WITNESS_REFUSED, gateway_id, reason=error.code)
            raise

    async def _accept(
        self,
        tx: Transaction,
        gateway_id: str,
        size: int,
        line: str,
        key: NoteKey,
        *,
        independent: bool,
    ) -> None:
        known = await repository.log_of(tx, tx.caller.organization_id)
        stored = await repository.checkpoint(tx, known.log_id, size) if known else None
        if known is None or stored is None:
            raise ResourceNotFound(f"There is no checkpoint of {size} entries any more.")
        note = with_cosignatures(stored.note, line if line.endswith("\n") else line + "\n", [key])
        cosignatures = len(parse_note(note).signatures) - 1
        if not any(s.key_id == key.key_id for s in parse_note(note).signatures):
            raise NoteInvalid("The cosignature is not of the key it was sent with.")
        await repository.set_note(tx, known.log_id, size, note=note, cosignatures=cosignatures)
        before = {witness.key: witness for witness in await repository.witnesses(tx, known.log_id)}
        name = str(key)
        if name not in before:
            if len(before) >= _MOST_WITNESSES:
                raise NoteInvalid(f"The log has {_MOST_WITNESSES} witnesses already.")
            await tx.record(
                AuditAction.AUDIT_WITNESS_ADDED,
                gateway_id,
                details={"key": key.key_id.hex(), "independent": str(independent).lower()},
            )
        await repository.set_witness(
            tx,
            known.log_id,
            KnownWitness(
                key=name, gateway_id=gateway_id, independent=independent, size=size, at=tx.now
            ),
            new=name not in before,
        )
        await asyncio.to_thread(self._publish, known.log_id, size, note)

    def _publish(self, log_id: str, size: int, note: bytes) -> None:
        """Put the newest cosigned checkpoint beside the log, for who verifies the directory."""
        reader = self._files.reader(log_id)
        present = reader.read(WITNESSED)
        if present is None or unverified_head(present).size <= size:
            replace(reader.path / WITNESSED, note)

    async def state(self, organization_id: str) -> Sequence[WitnessState]:
        """Everybody who witnesses the organization's log."""
        async with self._database.reading() as tx:
            known = await repository.log_of(tx, organization_id)
            found = await repository.witnesses(tx, known.log_id) if known else []
        size = known.head.size if known else 0
        return [
            WitnessState(
                key=witness.key,
                gateway_id=witness.gateway_id,
                independent=witness.independent,
                size=witness.size,
                behind=max(size - witness.size, 0),
                at=witness.at,
            )
            for witness in found
        ]
