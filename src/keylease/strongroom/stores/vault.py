"""``vault://mount/path#field``: HashiCorp Vault or OpenBao, KV version 1 and 2.

Rights needed: ``read`` on ``<mount>/data/<path>`` (version 2) or ``<mount>/<path>`` (version 1).
The mount and its version are asked from Vault (``sys/internal/ui/mounts``, which every token may),
so a mount's name may have several parts.

Limits: answers up to 1 MiB; no redirect is followed, so a standby node that does not forward is
    reported and not obeyed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import httpx
import msgspec

from keylease.contracts.references import Reference
from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreTimedOut,
    StoreUnsupported,
)
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.retries import Sleep, with_retries
from keylease.strongroom.stores.vault_auth import VaultSession
from keylease.strongroom.stores.vault_http import VaultAnswer, VaultHttp
from keylease.strongroom.stores.versions import VersionNames


class _Mount(msgspec.Struct, frozen=True):
    path: str
    """Ends with a slash."""
    version: int


class _Refused(Exception):
    """Vault answered 403."""


class VaultStore:
    """Reads the KV engines of one Vault or OpenBao."""

    scheme: ClassVar[str] = "vault"

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Clock,
        versions: VersionNames,
        posture: Posture,
        environment: Mapping[str, Secret],
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._versions = versions
        self._sleep = sleep
        self._http = VaultHttp(settings, posture=posture, transport=transport)
        self._session = VaultSession(
            self._http,
            settings,
            clock=clock,
            environment=environment,
            posture=posture,
            sleep=sleep,
        )
        self._mounts: dict[str, _Mount] = {}

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Read one field of the newest version."""
        return await with_retries(
            lambda: self._attempt(reference),
            attempts=self._settings.attempts,
            sleep=self._sleep,
        )

    async def close(self) -> None:
        """Revoke our token and close the connections."""
        await self._session.close()
        await self._http.close()

    async def _attempt(self, reference: Reference) -> FetchedSecret:
        """Read with the token at hand, and once more with another when it is no longer good."""
        seconds = self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                token = await self._session.token()
                try:
                    return await self._read(reference, token)
                except _Refused:
                    fresh = await self._session.replaced(token)
                if fresh is not None:
                    try:
                        return await self._read(reference, fresh)
                    except _Refused:
                        pass
        except TimeoutError:
            raise StoreTimedOut(
                f"Vault did not answer in {seconds:g} seconds.",
                advice="Check the network, or raise timeout under [stores] in gateway.toml.",
            ) from None
        raise StoreAccessDenied(
            f"Vault refuses to read {reference.path}.",
            advice="Check that the mount exists and that the token's policy allows `read` on it; "
            "for KV version 2 the policy's path has /data/ after the mount.",
        )

    async def _read(self, reference: Reference, token: Secret) -> FetchedSecret:
        fetched_at = self._clock.now()
        mount = await self._mount_of(reference.path, token)
        below = reference.path[len(mount.path) :]
        prefix = f"{mount.path}data/" if mount.version > 1 else mount.path
        answer = await self._http.send("GET", f"{prefix}{below}", token=token)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            # A mount may have been made anew with another version; it is asked for again.
            self._mounts.pop(mount.path, None)
        _check_status(answer, reference)
        data: Any = answer.document().get("data")
        version = ""
        if mount.version > 1 and isinstance(data, dict):
            metadata = data.get("metadata")
            if isinstance(metadata, dict):
                version = str(metadata.get("version", ""))
            data = data.get("data")
        if data is None:
            raise _not_found(reference)
        secret = _field(data, reference.field)
        return FetchedSecret(
            secret=secret,
            version=version or self._versions.name(reference, secret),
            fetched_at=fetched_at,
        )

    async def _mount_of(self, path: str, token: Secret) -> _Mount:
        known = [mount for mount in self._mounts.values() if path.startswith(mount.path)]
        if known:
            return max(known, key=lambda mount: len(mount.path))
        answer = await self._http.send("GET", f"sys/internal/ui/mounts/{path}", token=token)
        if answer.status == HTTPStatus.FORBIDDEN:
            raise _Refused
        data: Any = answer.document().get("data")
        if answer.status >= HTTPStatus.BAD_REQUEST or not isinstance(data, dict):
            raise SecretNotFound(
                f"Vault has no mount for {path}.", advice="`vault secrets list` shows them."
            )
        mount_path, kind, options = data.get("path"), data.get("type"), data.get("options")
        if kind not in {"kv", "generic"}:
            raise StoreUnsupported(
                f"The Vault mount of {path} is no KV engine.",
                advice="vault:// references read KV version 1 and 2.",
            )
        if not isinstance(mount_path, str) or not path.startswith(mount_path):
            raise SecretNotFound(
                f"The reference {path} names a mount and no secret in it.",
                advice="Write vault://mount/path#field.",
            )
        version = 2 if isinstance(options, dict) and options.get("version") == "2" else 1
        mount = _Mount(path=mount_path, version=version)
        self._mounts[mount_path] = mount
        return mount


def _check_status(answer: VaultAnswer, reference: Reference) -> None:
    if answer.status == HTTPStatus.FORBIDDEN:
        raise _Refused
    if answer.status == HTTPStatus.NOT_FOUND:
        raise _not_found(reference)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise SecretInvalid(
            f"Vault does not accept the request for {reference.path}.",
            advice="Check the mount, the path and the namespace.",
        )


def _not_found(reference: Reference) -> SecretNotFound:
    return SecretNotFound(
        f"Vault has no secret at {reference.path}, or its newest version was deleted.",
        advice="Check the path after the mount.",
    )


def _field(data: object, field: str) -> Secret:
    if not isinstance(data, dict):
        raise SecretInvalid(
            "Vault answered without the fields of a secret.",
            advice="Check the path and the version of the KV engine.",
        )
    if field not in data:
        raise SecretNotFound(
            f"The Vault secret has no field {field}.",
            advice="Check the part after # in the reference.",
        )
    value = data[field]
    if not isinstance(value, str):
        raise SecretInvalid(
            f"The field {field} of the Vault secret is not text.", advice="Store the key as text."
        )
    return Secret(value)
