"""Who may send spans, and where they go.

Protects: spans are taken with an API key or an ingest key that holds ``trace:ingest`` in the
    project they go to, or with a trace token of a gateway (``leased_senders``). A key of one
    project cannot send to another. A lease is refused: it is for a gateway, and must not travel to
    the platform.
Does not protect: who holds such a key can send anything, in any trace of its project.
Limits: what was decided about a key and a project holds for a second, because senders ask hundreds
    of times in it; a revoked key can send for so long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from keylease.contracts.leases import LEASE_PREFIX
from keylease.contracts.trace_tokens import INGEST_AUDIENCE, TRACE_TOKEN_PREFIX
from keylease.errors import (
    IngestKeyRequired,
    PermissionDenied,
    ResourceNotFound,
    SignInRequired,
)
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.server.guard import Access, Authenticator, Evidence
from keylease.platform.server.leased_senders import LeasedProjects, LeasedSender, LeasedSenders
from keylease.platform.server.moments import Moment
from keylease.platform.traces.ingest.intake import Intake
from keylease.platform.traces.ingest.receiving import Receiver
from keylease.platform.traces.keeping import Keeping
from keylease.primitives.clock import Clock

PROJECT_HEADER: Final = "x-keylease-project"
LONGEST_PROJECT: Final = 200
_SCHEME: Final = "bearer"
_MAKE_ONE: Final = (
    "Make an ingest key (POST /v1/api-keys with kind ingest and the permission trace:ingest) and"
    " send Authorization: Bearer kl_ing_..."
)
_EXCHANGE_IT: Final = (
    f"Exchange it at its gateway for a trace token (POST /oauth/token, audience={INGEST_AUDIENCE}),"
    " as keylease.tracing.init does; or use an ingest key."
)


class Leased(Protocol):
    """Decides about trace tokens."""

    async def sender(self, token: str, *, named: str) -> LeasedSender:
        """Who sends. Raises ``TraceTokenRefused`` and ``PermissionDenied``."""
        ...


class IngestAccess:
    """Decides about senders, and remembers it for a moment."""

    def __init__(
        self,
        authenticator: Authenticator,
        access: Access,
        projects: LeasedProjects,
        leased: Leased,
        clock: Clock,
    ) -> None:
        self._authenticator = authenticator
        self._access = access
        self._projects = projects
        self._leased = leased
        self._callers = Moment[bytes, Caller](clock)
        self._places = Moment[tuple[bytes, str], str](clock)

    async def sender(self, evidence: Evidence, *, named: str = "") -> IngestSender | LeasedSender:
        """Who sends; ``named`` is the project that the request itself names.

        Raises ``SignInRequired``, ``IngestKeyRequired``, ``TraceTokenRefused``,
        ``PermissionDenied``, and for a project that is named ``ResourceNotFound``.
        """
        text = evidence.authorization
        scheme, _, bearer = text.partition(" ")
        is_bearer = scheme.lower() == _SCHEME
        if is_bearer and bearer.startswith(LEASE_PREFIX):
            raise IngestKeyRequired(
                "A lease opens models at a gateway; it does not send spans.",
                advice=_EXCHANGE_IT,
            )
        if is_bearer and bearer.startswith(TRACE_TOKEN_PREFIX):
            return await self._leased.sender(bearer, named=named)
        if not text:
            raise SignInRequired("The request carries no key.", advice=_MAKE_ONE)
        key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        caller = await self._callers.of(key, lambda: self._caller(evidence))
        sender = IngestSender(self, caller, key, named)
        if named:
            await sender.project("")
        return sender

    async def project(self, sender: IngestSender, called: str) -> str:
        """The project of spans whose resource calls it so, or else the request, or else the key."""
        named = called or sender.named or sender.caller.project_id
        return await self._places.of((sender.key, named), lambda: self._place(sender.caller, named))

    async def _caller(self, evidence: Evidence) -> Caller:
        caller = await self._authenticator.authenticate(evidence)
        if not caller.api_key_id:
            raise IngestKeyRequired(
                "Spans are sent with a key, not with a sign-in.", advice=_MAKE_ONE
            )
        if Permission.TRACE_INGEST not in (caller.permissions or frozenset()):
            raise PermissionDenied("This key may not send spans.", advice=_MAKE_ONE)
        return caller

    async def _place(self, caller: Caller, named: str) -> str:
        if len(named) > LONGEST_PROJECT:
            raise ResourceNotFound("There is no such project in use.")
        project_id = await self._projects.find(caller.organization_id, named)
        await self._access.require(caller, Permission.TRACE_INGEST, project_id=project_id)
        return project_id


class IngestSender:
    """Implements ``ingest.receiving.Sender``."""

    def __init__(self, access: IngestAccess, caller: Caller, key: bytes, named: str) -> None:
        self._access = access
        self.caller = caller
        self.key = key
        self.named = named
        self.attributes: Mapping[str, str] = {}
        """Who holds a key is known by the key; no span says it."""

    @property
    def organization_id(self) -> str:
        """The key's."""
        return self.caller.organization_id

    async def project(self, called: str) -> str:
        """Raises ``ResourceNotFound`` and ``PermissionDenied``."""
        return await self._access.project(self, called)


@dataclass(frozen=True)
class SpanDoor:
    """Where spans come in: who may send them, and who takes them."""

    access: IngestAccess
    receiver: Receiver


def span_door(
    authenticator: Authenticator,
    access: Access,
    *,
    projects: LeasedProjects,
    keeping: Callable[[], Awaitable[Keeping]],
    database: Database,
    clock: Clock,
) -> SpanDoor:
    """The door to the trace store, which is opened by the first who comes."""

    async def intake() -> Intake:
        return (await keeping()).intake

    leased = LeasedSenders(database, access, projects, clock)
    return SpanDoor(IngestAccess(authenticator, access, projects, leased, clock), Receiver(intake))
