"""What gateways need from other domains, and what they offer. Joined in ``server/assembly.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from keylease.contracts import platform_link as wire
from keylease.contracts.bundles import SignedBundle
from keylease.platform.db.callers import Caller
from keylease.platform.db.transaction import Transaction

# --- needed --------------------------------------------------------------------------------


class BundleSource(Protocol):
    """Policy, compiled and signed.

    A version of a bundle has one content. The same version may be issued again with later times,
    and has to be before it expires: ``bundle`` never gives one that is past half of its validity.
    """

    async def policy_key(self, organization_id: str) -> bytes:
        """The public key (32 bytes of Ed25519) that signs this organization's bundles.

        Makes the key when there is none yet. Its fingerprint goes into enrolment codes.
        """
        ...

    async def bundle(self, organization_id: str, group: str) -> SignedBundle | None:
        """The bundle of a gateway group as it is now; ``None`` before anything was published.

        Called for every poll, so it is cheap while nothing has changed.
        """
        ...

    async def generations(self, organization_ids: Sequence[str]) -> Mapping[str, int]:
        """A number for each organization that grows with everything its bundles are made of.

        Read several times a second, for changes that another server process made. Changes of this
        process are told to ``PollHub.wake`` after their commit.
        """
        ...

    async def gateway_is_ahead(self, organization_id: str, group: str, version: int) -> None:
        """A gateway has taken ``version``, and ours is lower: this platform was put back.

        The next bundle of the group has to have a higher version, or no gateway takes it.
        """
        ...


class AcknowledgedEntries(Protocol):
    """What the audit log says of a batch."""

    @property
    def taken(self) -> int:
        """New ones."""
        ...

    @property
    def duplicates(self) -> int:
        """Known ones."""
        ...

    @property
    def set_aside(self) -> int:
        """Unreadable ones."""
        ...

    @property
    def gap(self) -> bool:
        """Something before the batch is missing."""
        ...


class AuditEntries(Protocol):
    """Where audit entries of gateways go."""

    async def accept(
        self, caller: Caller, gateway_id: str, entries: Sequence[bytes]
    ) -> AcknowledgedEntries:
        """Commit a batch; what cannot be committed now raises, and the gateway keeps it."""
        ...


class OfferedCheckpoint(Protocol):
    """A checkpoint to witness."""

    @property
    def origin(self) -> str:
        """The log's name."""
        ...

    @property
    def size(self) -> int:
        """Entries."""
        ...

    @property
    def checkpoint(self) -> bytes:
        """The signed note."""
        ...

    @property
    def old_size(self) -> int:
        """Where the proof begins."""
        ...

    @property
    def proof(self) -> tuple[bytes, ...]:
        """Consistency proof."""
        ...

    @property
    def log_key(self) -> str:
        """The log's verifier key."""
        ...

    @property
    def rotations(self) -> tuple[bytes, ...]:
        """How the log's key came to be this one."""
        ...


class WitnessedLog(Protocol):
    """The audit log, as gateways witness it."""

    async def offer(self, organization_id: str, *, witnessed: int) -> OfferedCheckpoint | None:
        """What a gateway that has witnessed so many entries should cosign next, if anything."""
        ...

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
        """Keep a cosignature."""
        ...


class CallRecords(Protocol):
    """Where call records of gateways go."""

    async def accept(
        self,
        caller: Caller,
        gateway_id: str,
        push: wire.CallRecordPush,
        *,
        served: frozenset[str] | None = None,
    ) -> wire.PushAnswer:
        """Commit a batch; what cannot be committed now raises, and the gateway keeps it.

        ``served`` are the credentials whose versions the gateway can know.
        """
        ...

    async def note_fetches(
        self, caller: Caller, entries: Sequence[bytes], *, served: frozenset[str] | None = None
    ) -> None:
        """Learn from audit entries which versions of credentials were fetched, and when."""
        ...


class CredentialFingerprints(Protocol):
    """Where fingerprints of credentials' secrets go."""

    async def accept(
        self,
        caller: Caller,
        gateway_id: str,
        push: wire.FingerprintPush,
        *,
        served: frozenset[str],
    ) -> wire.PushAnswer:
        """Commit a report; ``served`` are the credentials of which the gateway can know."""
        ...


# --- offered -------------------------------------------------------------------------------


class GatewayGroups(Protocol):
    """``repository.Groups``: which gateways there are."""

    async def groups(self, tx: Transaction, organization_id: str) -> Mapping[str, int]:
        """Name of each gateway group -> how many gateways it has that were not revoked."""
        ...

    async def lowest_link(self, tx: Transaction, organization_id: str, group: str) -> int:
        """The lowest link version that a gateway of the group speaks.

        What a bundle may contain follows from it; see ``contracts/bundles.py``.
        """
        ...
