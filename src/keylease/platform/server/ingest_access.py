"""Who may send spans, and where they go.

Protects: spans are taken with an API key or an ingest key that holds ``trace:ingest`` in the
    project they go to. A key of one project cannot send to another. A lease is refused: it is for
    a gateway, and must not travel to the platform.
Does not protect: who holds such a key can send anything, in any trace of its project.
Limits: what was decided about a key and a project holds for a second, because senders ask hundreds
    of times in it; a revoked key can send for so long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from keylease.contracts.leases import LEASE_PREFIX
from keylease.errors import (
    IngestKeyRequired,
    PermissionDenied,
    ResourceNotFound,
    SignInRequired,
)
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import Access, Authenticator, Evidence
from keylease.platform.traces.ingest.intake import Intake
from keylease.platform.traces.ingest.receiving import Receiver
from keylease.platform.traces.keeping import Keeping
from keylease.primitives.clock import Clock

PROJECT_HEADER: Final = "x-keylease-project"
LONGEST_PROJECT: Final = 200
_SECONDS: Final = 1.0
_MOST: Final = 2000
_SCHEME: Final = "bearer"
_MAKE_ONE: Final = (
    "Make an ingest key (POST /v1/api-keys with kind ingest and the permission trace:ingest) and"
    " send Authorization: Bearer kl_ing_..."
)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class FindProject(Protocol):
    """Finds projects by what senders call them."""

    def find(self, organization_id: str, called: str) -> Awaitable[str]:
        """The identifier. Raises ``ResourceNotFound``."""
        ...


class IngestAccess:
    """Decides about senders, and remembers it for a moment."""

    def __init__(
        self,
        authenticator: Authenticator,
        access: Access,
        projects: FindProject,
        clock: Clock,
    ) -> None:
        self._authenticator = authenticator
        self._access = access
        self._projects = projects
        self._callers = _Moment[bytes, Caller](clock)
        self._places = _Moment[tuple[bytes, str], str](clock)

    async def sender(self, evidence: Evidence, *, named: str = "") -> IngestSender:
        """Who sends; ``named`` is the project that the request itself names.

        Raises ``SignInRequired``, ``IngestKeyRequired``, ``PermissionDenied``, and for a project
        that is named ``ResourceNotFound``.
        """
        text = evidence.authorization
        scheme, _, bearer = text.partition(" ")
        if scheme.lower() == _SCHEME and bearer.startswith(LEASE_PREFIX):
            raise IngestKeyRequired(
                "A lease opens models at a gateway; it does not send spans.",
                advice=_MAKE_ONE,
            )
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


class _Moment(Generic[_Key, _Value]):
    """What was decided within the last second. Refusals are not kept: each is looked at again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[_Key, tuple[float, _Value]] = {}

    async def of(self, key: _Key, decide: Callable[[], Awaitable[_Value]]) -> _Value:
        known = self._known.get(key)
        asked = self._clock.monotonic()
        if known is not None and asked - known[0] < _SECONDS:
            return known[1]
        value = await decide()
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (asked, value)
        return value


class IngestSender:
    """Implements ``ingest.receiving.Sender``."""

    def __init__(self, access: IngestAccess, caller: Caller, key: bytes, named: str) -> None:
        self._access = access
        self.caller = caller
        self.key = key
        self.named = named

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
    projects: FindProject,
    keeping: Callable[[], Awaitable[Keeping]],
    clock: Clock,
) -> SpanDoor:
    """The door to the trace store, which is opened by the first who comes."""

    async def intake() -> Intake:
        return (await keeping()).intake

    return SpanDoor(IngestAccess(authenticator, access, projects, clock), Receiver(intake))
