"""Who sends spans with a trace token: the holder of a lease, into the project of the lease's calls.

Protects: principal and project are what the gateway has signed; a client that names another project
    is denied, and that is in the audit log. Spans carry the principal and the lease as attributes
    that nobody but the platform sets. A lease, principal, trust rule or API key that was revoked
    here sends nothing more from the next second on.
Does not protect: whoever has the token can send any span in that principal's name until it ends.
Limits: what was decided about a token holds for a second. A revocation that was made at a gateway,
    without the platform, ends no token that is out already, and one by time none of a lease that
    is of a later moment by the clock of a gateway that is ahead. No gateway gives a further one,
    and those end within 15 minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn, Protocol

from keylease.contracts import span_attributes as names
from keylease.contracts.policy import Revocation, RevocationKind
from keylease.contracts.trace_tokens import TraceTokenClaims
from keylease.errors import PermissionDenied, ResourceNotFound, TraceTokenRefused
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.gateways.trace_tokens import ProvenTraceToken, TraceTokenProof
from keylease.platform.policy import revocation_rows
from keylease.platform.server.guard import Access
from keylease.platform.server.moments import Moment
from keylease.primitives.clock import Clock

LONGEST_PROJECT: Final = 200


class LeasedProjects(Protocol):
    """Finds projects by what senders and leases call them."""

    async def find(self, organization_id: str, called: str) -> str:
        """The identifier. Raises ``ResourceNotFound``."""
        ...

    async def find_or_default(self, organization_id: str, called: str) -> str:
        """The identifier of the project to which a lease's call records go."""
        ...


class LeasedSenders:
    """Decides about trace tokens, and remembers it for a moment."""

    def __init__(
        self, database: Database, access: Access, projects: LeasedProjects, clock: Clock
    ) -> None:
        self._database = database
        self._access = access
        self._projects = projects
        self._proof = TraceTokenProof(database, clock)
        self._proven = Moment[bytes, ProvenTraceToken](clock)

    async def sender(self, token: str, *, named: str) -> LeasedSender:
        """Who sends; ``named`` is the project that the request itself names.

        Raises ``TraceTokenRefused``, and ``PermissionDenied`` for another project than the lease's.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        proven = await self._proven.of(digest, lambda: self._check(token))
        project_id = await self._projects.find_or_default(
            proven.organization_id, proven.claims.project
        )
        sender = LeasedSender(self, proven, project_id)
        await sender.project(named)
        return sender

    async def _check(self, token: str) -> ProvenTraceToken:
        proven = await self._proof.verify(token)
        async with self._database.reading() as tx:
            revocations = await revocation_rows.in_force(tx, proven.organization_id)
        _check_revocations(proven.claims, revocations)
        return proven

    async def require_own(self, sender: LeasedSender, called: str) -> None:
        """Raise ``PermissionDenied`` unless ``called`` is the lease's own project."""
        caller = sender.caller
        if len(called) > LONGEST_PROJECT:
            _deny()
        try:
            project_id = await self._projects.find(caller.organization_id, called)
        except ResourceNotFound:
            _deny()
        if project_id == caller.project_id:
            return
        try:
            # It is bound to its project, so this writes the denial down and raises.
            await self._access.require(caller, Permission.TRACE_INGEST, project_id=project_id)
        except PermissionDenied:
            _deny()
        _deny()


class LeasedSender:
    """Implements ``ingest.receiving.Sender``."""

    def __init__(self, senders: LeasedSenders, proven: ProvenTraceToken, project_id: str) -> None:
        self._senders = senders
        self.caller: Final = Caller(
            principal=proven.principal,
            organization_id=proven.organization_id,
            permissions=frozenset({Permission.TRACE_INGEST.value}),
            project_id=project_id,
        )
        self.attributes: Final[Mapping[str, str]] = {
            names.SENDER: str(proven.principal),
            names.SENDER_LEASE_ID: proven.claims.lease,
        }

    @property
    def organization_id(self) -> str:
        """The gateway's."""
        return self.caller.organization_id

    async def project(self, called: str) -> str:
        """The lease's own, whatever it is called. Raises ``PermissionDenied`` for another one."""
        if called and called != self.caller.project_id:
            await self._senders.require_own(self, called)
        return self.caller.project_id


def _check_revocations(claims: TraceTokenClaims, revocations: Iterable[Revocation]) -> None:
    for revocation in revocations:
        match revocation.kind:
            case RevocationKind.LEASE:
                dead = revocation.value == claims.lease
            case RevocationKind.PRINCIPAL:
                dead = revocation.value == claims.sub and _was_before(claims, revocation)
            case RevocationKind.ADMISSION:
                dead = revocation.value == claims.via and _was_before(claims, revocation)
            case RevocationKind.ALL:
                dead = _was_before(claims, revocation)
            case RevocationKind.CREDENTIAL:
                dead = False  # says nothing about who holds a lease
        if dead:
            raise TraceTokenRefused("The lease that this trace token was given for was revoked.")


def _was_before(claims: TraceTokenClaims, revocation: Revocation) -> bool:
    """As gateways decide it: dead is what was issued up to the revocation."""
    return claims.lease_issued_at <= revocation.at


def _deny() -> NoReturn:
    raise PermissionDenied(
        "Spans that are sent with a lease go to the project of its calls, and to no other.",
        advice="Leave the project out, or send them with an ingest key of that project.",
    )
