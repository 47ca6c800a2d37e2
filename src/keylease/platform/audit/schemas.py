"""Wire types of the audit log. Entries are the logged JSON itself; hashes are base64."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from keylease.platform.audit.repository import StoredCheckpoint
from keylease.platform.audit.service import (
    ConsistencyProof,
    InclusionProof,
    LogKeys,
    PlacedEntry,
)
from keylease.platform.audit.witnessing import WitnessState


class AuditEntryOut(BaseModel):
    """An entry and its place in the log."""

    index: int = Field(description="Counts from 0, without a hole.")
    entry: dict[str, Any] = Field(
        description="The entry. What was hashed is its exact bytes: see the raw entry."
    )

    @classmethod
    def of(cls, placed: PlacedEntry) -> AuditEntryOut:
        """From the log."""
        return cls(index=placed.index, entry=msgspec.json.decode(placed.entry))


class InclusionOut(BaseModel):
    """That an entry is in the tree of a checkpoint (RFC 6962 section 2.1.1)."""

    index: int
    leaf_hash: str
    hashes: list[str] = Field(description="The leaf's sibling first.")
    size: int
    root_hash: str
    checkpoint: str = Field(description="The signed note (c2sp.org/tlog-checkpoint).")

    @classmethod
    def of(cls, proof: InclusionProof) -> InclusionOut:
        """From the log."""
        return cls(
            index=proof.index,
            leaf_hash=_text(proof.leaf),
            hashes=[_text(item) for item in proof.hashes],
            size=proof.head.size,
            root_hash=_text(proof.head.root),
            checkpoint=proof.checkpoint.decode(),
        )


class ConsistencyOut(BaseModel):
    """That an earlier tree is the beginning of the present one (RFC 6962 section 2.1.2)."""

    old_size: int
    old_root_hash: str
    hashes: list[str]
    size: int
    root_hash: str
    checkpoint: str

    @classmethod
    def of(cls, proof: ConsistencyProof) -> ConsistencyOut:
        """From the log."""
        return cls(
            old_size=proof.old,
            old_root_hash=_text(proof.old_root),
            hashes=[_text(item) for item in proof.hashes],
            size=proof.head.size,
            root_hash=_text(proof.head.root),
            checkpoint=proof.checkpoint.decode(),
        )


class CheckpointOut(BaseModel):
    """A checkpoint with its cosignatures."""

    size: int
    at: int = Field(description="When it was signed; microseconds UTC.")
    cosignatures: int
    checkpoint: str

    @classmethod
    def of(cls, stored: StoredCheckpoint) -> CheckpointOut:
        """From the database."""
        return cls(
            size=stored.size,
            at=stored.at,
            cosignatures=stored.cosignatures,
            checkpoint=stored.note.decode(),
        )


class LogKeysOut(BaseModel):
    """The log's public key, to be pinned by who verifies it."""

    origin: str
    key: str = Field(description="A verifier key (c2sp.org/signed-note).")
    rotations: list[str] = Field(description="Notes by which earlier keys handed over.")

    @classmethod
    def of(cls, keys: LogKeys) -> LogKeysOut:
        """From the log."""
        return cls(origin=keys.origin, key=keys.key, rotations=list(keys.rotations))


class WitnessOut(BaseModel):
    """A witness of the log."""

    key: str
    gateway_id: str
    independent: bool = Field(description="False when it runs on the platform's own machine.")
    size: int
    behind: int = Field(description="Entries that it has not seen.")
    at: int

    @classmethod
    def of(cls, state: WitnessState) -> WitnessOut:
        """From the log."""
        return cls(**msgspec.structs.asdict(state))


class WitnessesOut(BaseModel):
    """Everybody who witnesses the log."""

    items: list[WitnessOut]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
