"""What gateways and the platform say to each other. Gateways ask; the platform never connects.

    POST /v1/link/enrolments     JSON          a code becomes a registered gateway key
    POST /v1/link/poll           JSON          what I have and how I am -> a newer bundle, or wait
    POST /v1/link/call-records   MessagePack   a batch from the spool of call records
    POST /v1/link/audit-entries  MessagePack   a batch from the audit spool
    POST /v1/link/cosignatures   JSON          a checkpoint of the audit log that I witnessed
    POST /v1/link/fingerprints   JSON          by what the credentials' secrets are recognised

Every request is signed by the gateway's own Ed25519 key over method, target, body, time and nonce
(``signing_input``); an enrolment by the key that it registers.

Append-only. A reader ignores members that it does not know and finds a default for every member
that an older writer leaves out. ``LINK_VERSION`` counts up when one side has to know whether the
other understands something; each side works with the version before its own and says so otherwise.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from keylease.contracts.bundles import SignedBundle
from keylease.contracts.findings import Fingerprint
from keylease.contracts.self_report import SelfReport

LINK_VERSION: Final = 1
OLDEST_LINK_VERSION: Final = 1
"""What this version still talks to."""

ENROLMENTS: Final = "/v1/link/enrolments"
POLL: Final = "/v1/link/poll"
CALL_RECORDS: Final = "/v1/link/call-records"
AUDIT_ENTRIES: Final = "/v1/link/audit-entries"
COSIGNATURES: Final = "/v1/link/cosignatures"
FINGERPRINTS: Final = "/v1/link/fingerprints"
"""A platform that is older answers with 404; the gateway keeps what it has and asks again later."""

GATEWAY_HEADER: Final = "keylease-gateway"
TIME_HEADER: Final = "keylease-time"
NONCE_HEADER: Final = "keylease-nonce"
SIGNATURE_HEADER: Final = "keylease-signature"
SIGNATURE_CONTEXT: Final = b"keylease/gateway-request/v1\n"
ENROLLING: Final = "enrolling"
"""Stands in ``keylease-gateway`` while there is no identifier yet."""
CLOCK_WINDOW: Final = 300
"""Seconds by which a request's time may differ from the platform's clock."""
NONCE_BYTES: Final = 16

LONGEST_WAIT: Final = 30.0
"""Seconds for which the platform may hold a poll."""
MAXIMUM_BATCH_RECORDS: Final = 512
MAXIMUM_FINGERPRINTED: Final = 200
"""Secrets in one ``FingerprintPush``."""
MAXIMUM_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Of the records in one push; a record that is larger alone travels alone."""


def signing_input(
    *, method: str, target: str, body: bytes, gateway_id: str, time: str, nonce: str
) -> bytes:
    """The bytes that a gateway signs. No part can hold a line feed, so none can pass for two."""
    lines = (method, target, hashlib.sha256(body).hexdigest(), gateway_id, time, nonce)
    return SIGNATURE_CONTEXT + "\n".join(lines).encode()


# --- enrolment -----------------------------------------------------------------------------


class EnrolmentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway introduces itself."""

    link: int = LINK_VERSION
    code: str
    public_key: bytes
    """32 bytes of Ed25519, also used to sign this request."""
    name: str
    """For people: the machine's name."""
    group: str
    """The gateway group of its gateway.toml; must be the one the code was made for."""
    software: str

    def __repr__(self) -> str:
        return f"EnrolmentRequest(name={self.name!r}, group={self.group!r})"


class EnrolmentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway is registered."""

    link: int = LINK_VERSION
    gateway_id: str
    organization_id: str
    group: str
    policy_key: bytes
    """32 bytes of Ed25519; their fingerprint is the one in the code."""


# --- policy --------------------------------------------------------------------------------


class BundleState(msgspec.Struct, frozen=True, kw_only=True):
    """One issue of a bundle, seen from a gateway."""

    version: int = 0
    digest: str = ""
    issued_at: int = 0
    expires_at: int = 0


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the bundle that this gateway does not serve, and why."""

    object_id: str
    code: str
    """Stable: ``binding_missing``, ``issuer_not_trusted``, ``provider_unknown`` ..."""


class RefusedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that this gateway did not take."""

    version: int = 0
    digest: str = ""
    code: str
    """A code of ``errors.BundleRefused`` and its kinds."""
    at: int = 0


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits at the gateway to be pushed."""

    call_record_bytes: int = 0
    call_records_lost: int = 0
    """Records that fitted nowhere since the gateway was started."""
    audit_entries: int = 0


class WitnessedSize(msgspec.Struct, frozen=True, kw_only=True):
    """How much of which audit log this gateway has witnessed; 0 for none yet."""

    origin: str = ""
    size: int = 0


class PollRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway is, and what it has."""

    link: int = LINK_VERSION
    software: str
    started_at: int = 0
    """Microseconds UTC."""
    wait_seconds: float = 0.0
    in_force: BundleState = BundleState()
    """What every worker decides by now, revocations included."""
    highest_version: int = 0
    """The high-water mark; above the platform's own version it says that the platform was set back.
    """
    refused: RefusedBundle | None = None
    """The last bundle that was not taken; ``None`` once a later one was."""
    objections: tuple[Objection, ...] = ()
    backlog: Backlog = Backlog()
    witnessed: WitnessedSize = WitnessedSize()
    about: SelfReport | None = None
    """Where its keys are and what protects them; sent when it has changed, and now and then."""


class CheckpointOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of the audit log to witness (C2SP tlog-witness, as members)."""

    origin: str
    size: int
    checkpoint: bytes
    """The signed note."""
    old_size: int
    """The size from which ``proof`` leads: what the gateway witnessed last."""
    proof: tuple[bytes, ...] = ()
    """Consistency proof (RFC 6962 section 2.1.2); empty from size 0."""
    log_key: str = ""
    """The log's verifier key (C2SP signed-note); a witness pins it the first time."""
    rotations: tuple[bytes, ...] = ()
    """Notes by which the log's earlier keys hand over to the present one."""


class PollAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is new, if anything is."""

    link: int = LINK_VERSION
    now: int = 0
    """The platform's clock."""
    bundle: SignedBundle | None = None
    checkpoint: CheckpointOffer | None = None


# --- records -------------------------------------------------------------------------------


class SpoolPosition(msgspec.Struct, frozen=True, order=True):
    """A place between two records of a gateway's spool."""

    segment: int = 0
    offset: int = 0


class CallRecordPush(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of call records: everything of the spool between two places."""

    link: int = LINK_VERSION
    spool_id: str
    """Made when the spool was; another one means that the old spool is gone."""
    start: SpoolPosition
    """The ``end`` of the batch before; what lies between the two was lost."""
    end: SpoolPosition
    records: tuple[bytes, ...]
    """``call_records.CallRecord`` in MessagePack, as the workers wrote them."""


class AuditPush(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of audit entries, in the order of their sequence numbers."""

    link: int = LINK_VERSION
    entries: tuple[bytes, ...]
    """``audit.AuditEntry`` in JSON, as the spool holds them."""


class PushAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the batch is durable at the platform."""

    link: int = LINK_VERSION
    taken: int = 0
    duplicates: int = 0
    set_aside: int = 0
    """Kept as bytes, because this platform does not understand them."""
    gap: bool = False
    """Something before this batch is missing; it was written down."""


class Cosignature(msgspec.Struct, frozen=True, kw_only=True):
    """A witness's signature line for a checkpoint."""

    link: int = LINK_VERSION
    origin: str
    size: int
    line: str
    """The signed note's signature line (C2SP tlog-cosignature)."""
    witness_key: str
    """Its verifier key (C2SP signed-note)."""


# --- the inventory -------------------------------------------------------------------------


class SecretFingerprints(msgspec.Struct, frozen=True, kw_only=True):
    """By what one version of a credential's secret is recognised where a scan finds it."""

    credential_id: str
    version: str
    """As ``call_records.CallRecord.credential_version`` has it."""
    fingerprints: tuple[Fingerprint, ...]
    """The current fingerprint key's first; while that key is rotated, the previous one's too."""


class FingerprintPush(msgspec.Struct, frozen=True, kw_only=True):
    """What this gateway has fetched and not told yet."""

    link: int = LINK_VERSION
    secrets: tuple[SecretFingerprints, ...] = ()


class LinkRefusal(msgspec.Struct, frozen=True):
    """What the platform says when it does not do what was asked; a part of its problem body."""

    code: str = ""
    detail: str = ""
