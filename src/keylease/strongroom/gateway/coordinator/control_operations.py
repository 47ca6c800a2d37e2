"""What can be asked on the control socket. Each operation is a few lines; the work is elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

import keylease
from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.coordinator.call_lists import CallFilter, CallLists
from keylease.strongroom.gateway.coordinator.control import Caller, Operation, Stream
from keylease.strongroom.gateway.coordinator.worker_group import describe

if TYPE_CHECKING:
    from keylease.strongroom.gateway.coordinator.coordinator import Coordinator


class CredentialWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``credentials.check``."""

    name: str = ""
    """Name or id; empty for all."""


class AuditWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``audit.list``."""

    after: int = 0
    """Sequence number."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of operations that take none."""


class ControlOperations:
    """Bound to one coordinator."""

    def __init__(self, coordinator: Coordinator, calls: CallLists) -> None:
        self._coordinator = coordinator
        self._calls = calls

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By name, as in the protocol."""
        return {
            "status": self._status,
            "posture": self._posture,
            "lease.create": self._lease_create,
            "lease.revoke": self._lease_revoke,
            "lease.lift": self._lease_lift,
            "lease.revocations": self._lease_revocations,
            "lease.keys.rotate": self._lease_keys_rotate,
            "policy.reload": self._policy_reload,
            "policy.status": self._policy_status,
            "calls.list": self._calls_list,
            "credentials.check": self._credentials_check,
            "audit.list": self._audit_list,
        }

    @property
    def streams(self) -> Mapping[str, Stream]:
        """Operations with any number of answers."""
        return {"calls.follow": self._calls_follow}

    async def _status(self, _caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        msgspec.convert(arguments, _Nothing)
        coordinator = self._coordinator
        exporter = coordinator.exporter
        spool = coordinator.spool
        return {
            "version": keylease.__version__,
            "pid": os.getpid(),
            "started_at": coordinator.started_at,
            "urls": list(coordinator.urls),
            "organization_id": coordinator.audit.organization_id,
            "group": coordinator.configuration.group,
            "workers": describe(coordinator.workers.running),
            "worker_restarts": coordinator.workers.restarts,
            "policy": msgspec.to_builtins(coordinator.policy.status),
            "credentials": {
                identifier: msgspec.to_builtins(state)
                for identifier, state in coordinator.credentials.states().items()
            },
            "spool": {
                "bytes": spool.log.total_bytes,
                "maximum_bytes": coordinator.configuration.spool.maximum_bytes,
                "writable": spool.writable,
                "lost": spool.lost,
            },
            "export": msgspec.to_builtins(exporter.state) if exporter is not None else None,
            "platform": coordinator.platform.state if coordinator.platform is not None else None,
            "audit": {
                "next_sequence": coordinator.audit.next_sequence,
                "bytes": coordinator.audit.total_bytes,
            },
            "signing_key": {
                "kid": coordinator.desk.keys.kid,
                "created_at": coordinator.desk.keys.created_at,
            },
        }

    async def _posture(self, _caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        msgspec.convert(arguments, _Nothing)
        posture = self._coordinator.posture()
        return {**msgspec.to_builtins(posture), "in_words": posture.in_words()}

    async def _lease_create(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._coordinator.desk.create(caller.uid, arguments)

    async def _lease_revoke(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._coordinator.desk.revoke(caller.uid, arguments)

    async def _lease_lift(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._coordinator.desk.lift(caller.uid, arguments)

    async def _lease_revocations(
        self, _caller: Caller, arguments: dict[str, Any]
    ) -> list[dict[str, Any]]:
        msgspec.convert(arguments, _Nothing)
        names = {c.id: c.name for c in self._coordinator.policy.bundle.credentials}
        return [
            {**msgspec.to_builtins(revocation), "name": names.get(revocation.value, "")}
            for revocation in self._coordinator.desk.revocations()
        ]

    async def _lease_keys_rotate(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        msgspec.convert(arguments, _Nothing)
        return await self._coordinator.desk.rotate(caller.uid)

    async def _policy_reload(self, _caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        msgspec.convert(arguments, _Nothing)
        changed = await self._coordinator.policies.reload()
        status: dict[str, Any] = msgspec.to_builtins(self._coordinator.policy.status)
        return {"changed": changed, **status}

    async def _policy_status(self, _caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        msgspec.convert(arguments, _Nothing)
        status: dict[str, Any] = msgspec.to_builtins(self._coordinator.policy.status)
        return status

    async def _calls_list(self, _caller: Caller, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return await self._calls.newest(msgspec.convert(arguments, CallFilter))

    async def _calls_follow(
        self, _caller: Caller, arguments: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        wanted = msgspec.convert(arguments, CallFilter)
        wanted.check()
        return self._calls.follow(wanted)

    async def _credentials_check(
        self, _caller: Caller, arguments: dict[str, Any]
    ) -> list[dict[str, object]]:
        wish = msgspec.convert(arguments, CredentialWish)
        desk = self._coordinator.credentials
        credentials = [
            credential
            for credential in self._coordinator.policy.bundle.credentials
            if wish.name in ("", credential.name, credential.id)
        ]
        if wish.name and not credentials:
            raise RequestMalformed("The policy has no such credential.")
        return [await desk.check(credential) for credential in credentials]

    async def _audit_list(self, _caller: Caller, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        wish = msgspec.convert(arguments, AuditWish)
        return await self._coordinator.audit.listed(after=wish.after, limit=wish.limit)
