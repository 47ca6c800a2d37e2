"""The key that signs an organization's bundles: one file each, readable by its owner only.

Protects: the private half is in the platform's own directory and in no database, back-up or log;
    a file that others may read is not used; when the database knows of a key and its file is gone,
    nothing is signed by another one instead.
Does not protect: whoever owns the platform's process signs policies. What they can do with one is
    bounded by each gateway's gateway.toml.
Limits: a server that takes over from another needs the same directory (``policy-keys``).

Rotation: the key in use signs the new one (``contracts/policy_keys``), then its file is removed.
The chain is in every bundle, so that gateways follow without being enrolled again.
"""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from sqlalchemy import select

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy_keys import LONGEST_CHAIN, KeyEndorsement, endorse, fingerprint
from keylease.errors import PolicyKeyUnavailable, ResourceConflict
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.policy import repository
from keylease.platform.policy.bundle_inputs import BundleInputs
from keylease.platform.policy.tables import KEYS
from keylease.primitives import files

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAXIMUM: Final = 4096
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")


class PolicyKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs, or signed, bundles. Its public half only."""

    id: str
    """Its fingerprint."""
    public_key: bytes
    made_at: int
    in_use: bool


class PolicyKeyList(msgspec.Struct, frozen=True, kw_only=True):
    """Every policy key of an organization, the one in use first."""

    items: tuple[PolicyKey, ...]


class SigningKey(msgspec.Struct, frozen=True):
    """The key in use, with the chain that leads to it."""

    key: Ed25519PrivateKey
    endorsements: tuple[KeyEndorsement, ...]

    def __repr__(self) -> str:
        return "SigningKey(...)"


class PolicyKeys:
    """The policy keys of all organizations of this installation."""

    def __init__(
        self,
        database: Database,
        *,
        directory: Path,
        inputs: BundleInputs,
        generate: Callable[[], Ed25519PrivateKey] = Ed25519PrivateKey.generate,
    ) -> None:
        """``directory`` is made when the first key is."""
        self._database = database
        self._directory = directory
        self._inputs = inputs
        self._generate = generate

    async def public_key(self, organization_id: str) -> bytes:
        """The key that signs the organization's bundles; made when there is none yet."""
        caller = Caller(principal=None, organization_id=organization_id)
        async with self._database.reading(caller) as tx:
            rows = await _rows(tx)
        if rows:
            return bytes(rows[-1]["public_key"])
        async with self._database.transaction(caller) as tx:
            await repository.lock_state(tx, organization_id)
            return (await self.signing_key(tx)).key.public_key().public_bytes_raw()

    async def signing_key(self, tx: Transaction) -> SigningKey:
        """The key in use. The caller holds the lock of the organization's policy.

        Raises ``PolicyKeyUnavailable``.
        """
        rows = await _rows(tx)
        if not rows:
            key = await self._make(tx, sequence=1, endorsement=None)
            await tx.record(AuditAction.POLICY_KEY_MADE, _id(key))
            return SigningKey(key, ())
        key = await asyncio.to_thread(self._read, tx.caller.organization_id, str(rows[-1]["id"]))
        return SigningKey(key, _chain(rows))

    async def keys(self, caller: Caller) -> PolicyKeyList:
        """All keys there were, the one in use first."""
        async with self._database.reading(caller) as tx:
            rows = await _rows(tx)
        return PolicyKeyList(
            items=tuple(
                PolicyKey(
                    id=row["id"],
                    public_key=bytes(row["public_key"]),
                    made_at=row["at"],
                    in_use=row is rows[-1],
                )
                for row in reversed(rows)
            )
        )

    async def rotate(self, caller: Caller) -> PolicyKey:
        """Let the key in use sign a new one, and use that from now on."""
        async with self._database.transaction(caller) as tx:
            await repository.lock_state(tx, caller.organization_id)
            old = await self.signing_key(tx)
            rows = await _rows(tx)
            if len(rows) > LONGEST_CHAIN:
                raise ResourceConflict(
                    f"The chain of policy keys has {LONGEST_CHAIN} links, which is the most that "
                    "gateways follow.",
                    advice="Set the organization up with a new key, and enrol its gateways again.",
                )
            new = await self._make(tx, sequence=len(rows) + 1, endorsement=old.key)
            await tx.record(
                AuditAction.POLICY_KEY_ROTATED, _id(new), details={"before": _id(old.key)}
            )
            await self._inputs.bundle_inputs_changed(tx, caller.organization_id)
            made_at = tx.now
        # Committed: the old key has no use any more, except to a thief.
        path = self._path(caller.organization_id, _id(old.key))
        try:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as error:
            raise PolicyKeyUnavailable(
                f"The new policy key is in use, but {path} cannot be removed.",
                advice="Remove the file by hand: the key in it can still endorse others.",
            ) from error
        public_key = new.public_key().public_bytes_raw()
        return PolicyKey(id=_id(new), public_key=public_key, made_at=made_at, in_use=True)

    async def _make(
        self, tx: Transaction, *, sequence: int, endorsement: Ed25519PrivateKey | None
    ) -> Ed25519PrivateKey:
        organization_id = tx.caller.organization_id
        key = self._generate()
        link = (
            endorse(key.public_key(), by=endorsement, organization_id=organization_id)
            if endorsement is not None
            else None
        )
        # The file first: a key that is in the database and nowhere else would stop every bundle; a
        # file that no row names is never used.
        await asyncio.to_thread(self._write, organization_id, key)
        await tx.execute(
            KEYS.insert().values(
                organization_id=organization_id,
                id=_id(key),
                sequence=sequence,
                public_key=key.public_key().public_bytes_raw(),
                endorsement=msgspec.json.encode(link) if link is not None else None,
                at=tx.now,
            )
        )
        return key

    def _path(self, organization_id: str, key_id: str) -> Path:
        if not _FINGERPRINT.fullmatch(key_id):
            raise PolicyKeyUnavailable("The name of the policy key is no fingerprint.")
        return self._directory / organization_id / f"{key_id.removeprefix('sha256:')}.pem"

    def _write(self, organization_id: str, key: Ed25519PrivateKey) -> None:
        path = self._path(organization_id, _id(key))
        files.make_private_directory(path.parent)
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files.create(path, encoded)

    def _read(self, organization_id: str, key_id: str) -> Ed25519PrivateKey:
        path = self._path(organization_id, key_id)
        advice = (
            "Put the file back from where you keep it; it is part of no back-up of the database."
        )
        try:
            if path.stat().st_mode & _OTHERS:
                raise PolicyKeyUnavailable(
                    f"{path} may be read by others.",
                    advice="Take their right away, find out who has read it, and rotate the key.",
                )
            content = files.read_bounded(path, maximum=_MAXIMUM)
            key = load_pem_private_key(content, password=None)
        except OSError as error:
            raise PolicyKeyUnavailable(
                f"The policy key {path} cannot be read: {error.strerror}.", advice=advice
            ) from error
        except ValueError as error:
            raise PolicyKeyUnavailable(f"{path} is no key.", advice=advice) from error
        if not isinstance(key, Ed25519PrivateKey) or _id(key) != key_id:
            raise PolicyKeyUnavailable(f"{path} holds another key.", advice=advice)
        return key


def _id(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return fingerprint(public.public_bytes_raw())


async def _rows(tx: Transaction) -> list[Row]:
    organization_id = tx.caller.organization_id
    query = select(KEYS).where(KEYS.c.organization_id == organization_id)
    return list(await tx.rows(query.order_by(KEYS.c.sequence)))


def _chain(rows: list[Row]) -> tuple[KeyEndorsement, ...]:
    return tuple(
        msgspec.json.decode(row["endorsement"], type=KeyEndorsement)
        for row in rows
        if row["endorsement"] is not None
    )
