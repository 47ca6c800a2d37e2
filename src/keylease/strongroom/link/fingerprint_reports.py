"""Tells the platform by what the secrets are recognised that this gateway fetched.

The inventory joins what scanners find with what the gateways use; a fingerprint under the
organization's key is the only thing that both have and that is no secret.

Protects: the platform gets fingerprints and never the key they are made with, so it can compare and
    cannot test a guess. A secret that could be guessed gets none. The key comes from a file that
    gateway.toml names, and nothing that the platform says changes which.
Does not protect: who has this key and a copy of the platform's fingerprints can test guesses of
    secrets with 72 bits and more. It opens nothing else.
Limits: what was not told yet is in memory only; it is told after the next fetch again. The key file
    is read again with every fetch, so that a rotated key needs no restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from keylease.contracts import platform_link as wire
from keylease.contracts.findings import Fingerprint
from keylease.errors import FingerprintKeyInvalid, KeyleaseError, PlatformRefused
from keylease.primitives.fingerprints import FingerprintKeys, read_keys
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.link.backoff import Backoff
from keylease.strongroom.stores.interfaces import FetchedSecret

GROWING_SECONDS: Final = 0.25
"""How long a report may wait to grow."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_REFUSED_PAUSE: Final = 600.0
"""Seconds, at most: an older platform does not know the question until it is upgraded."""


class Receiver(Protocol):
    """What a ``LinkClient`` does."""

    async def push_fingerprints(self, push: wire.FingerprintPush) -> wire.PushAnswer:
        """Hand over a report; it is durable there when this returns."""
        ...


class FingerprintState(msgspec.Struct, kw_only=True):
    """How the reports are doing, for status."""

    key: str = ""
    """``id.version`` of the key in force."""
    told: int = 0
    """Credentials whose present secret the platform knows by fingerprint."""
    error: str = ""
    """Why the last attempt failed; empty when it went well."""


class FingerprintReports:
    """One per coordinator with a fingerprint key."""

    def __init__(self, key_file: Path, *, log: Log) -> None:
        """Raises ``FingerprintKeyInvalid`` when the key cannot be used."""
        self._path = key_file
        self._log = log
        self._told: dict[str, wire.SecretFingerprints] = {}
        self._waiting: dict[str, wire.SecretFingerprints] = {}
        self._news = asyncio.Event()
        self.state = FingerprintState(key=str(self._keys().current))

    def _keys(self) -> FingerprintKeys:
        try:
            return read_keys(self._path)
        except FileNotFoundError:
            raise FingerprintKeyInvalid(
                f"There is no fingerprint key at {self._path}.",
                advice="`keylease fingerprint-key create FILE` makes one; scanners need the same.",
            ) from None

    def note(self, credential_ids: Iterable[str], fetched: FetchedSecret) -> None:
        """A secret was fetched for these credentials. Never raises: a fetch goes on without."""
        try:
            keys = self._keys()
        except FingerprintKeyInvalid as error:
            self._failed(error)
            return
        self.state.key = str(keys.current)
        fingerprints = keys.of(fetched.secret.reveal(why="fingerprint it for the inventory"))
        if not fingerprints:
            return
        for credential_id in credential_ids:
            self._put(credential_id, fetched.version, fingerprints)

    def _put(self, credential_id: str, version: str, fingerprints: tuple[Fingerprint, ...]) -> None:
        found = wire.SecretFingerprints(
            credential_id=credential_id, version=version, fingerprints=fingerprints
        )
        if self._told.get(credential_id) != found:
            self._waiting[credential_id] = found
            self._news.set()

    async def run(self, receiver: Receiver) -> None:
        """Tell until cancelled. Begins with everything: it may be another platform."""
        self._waiting = {**self._told, **self._waiting}
        self._told.clear()
        self.state.told = 0
        away = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        refused = Backoff(first=_FIRST_PAUSE, longest=_REFUSED_PAUSE)
        while True:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
            await asyncio.sleep(GROWING_SECONDS)
            batch = tuple(self._waiting.values())[: wire.MAXIMUM_FINGERPRINTED]
            try:
                answer = await receiver.push_fingerprints(wire.FingerprintPush(secrets=batch))
            except PlatformRefused as error:
                self._failed(error)
                await refused.pause()
            except KeyleaseError as error:
                self._failed(error)
                await away.pause()
            else:
                away.reset()
                refused.reset()
                self._took(batch, whole=not answer.set_aside)

    def _took(self, batch: tuple[wire.SecretFingerprints, ...], *, whole: bool) -> None:
        # Not whole: its policy does not have all of them. They are told after their next fetch.
        for one in batch:
            if whole:
                self._told[one.credential_id] = one
            if self._waiting.get(one.credential_id) == one:  # and nothing newer meanwhile
                del self._waiting[one.credential_id]
        self.state.told = len(self._told)
        self.state.error = ""

    def _failed(self, error: KeyleaseError) -> None:
        reason = f"{error.code}: {error.message}"
        if self.state.error != reason:
            self._log.warning("fingerprints_wait", reason=reason)
        self.state.error = reason
