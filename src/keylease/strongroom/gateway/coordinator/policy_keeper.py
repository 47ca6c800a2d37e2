"""The policy in force: read from keylease.toml, numbered, and replaced only by a better one.

Promise: a file with a mistake never replaces the policy in force, and why is kept for whoever
    asks. The version increases with every change of content, over restarts too: the highest one
    is on disk before workers decide by it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from keylease.contracts.policy import PolicyBundle
from keylease.errors import KeyleaseError, PolicyFileInvalid, StorageCorrupt
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.strongroom.config_files.policy_file import load_policy
from keylease.strongroom.gateway.coordinator.policy_source import PolicyStatus

_FILE_NAME: Final = "policy-high-water"
FileMark = tuple[int, int, int]


class _HighWater(msgspec.Struct, frozen=True):
    """What is stored. Append-only."""

    version: int
    digest: str


class PolicyKeeper:
    """Owned by the coordinator."""

    def __init__(self, path: Path, *, directory: Path, organization_id: str, clock: Clock) -> None:
        """``directory`` holds the high-water mark. Nothing is read yet."""
        self._path = path
        self._mark_path = directory / _FILE_NAME
        self._organization_id = organization_id
        self._clock = clock
        self._high_water = self._read_high_water()
        self._bundle: PolicyBundle | None = None
        self._seen: FileMark | None = None
        self._error = ""
        self._error_at = 0

    def _read_high_water(self) -> _HighWater:
        try:
            return msgspec.json.decode(self._mark_path.read_bytes(), type=_HighWater)
        except FileNotFoundError:
            return _HighWater(version=0, digest="")
        except (OSError, msgspec.DecodeError) as error:
            raise StorageCorrupt(
                f"{self._mark_path} cannot be read.",
                advice="Put it back from a back-up, or remove it: versions then begin again.",
            ) from error

    @property
    def bundle(self) -> PolicyBundle:
        """The policy in force."""
        if self._bundle is None:
            raise PolicyFileInvalid(f"{self._path} was not read yet.")
        return self._bundle

    @property
    def in_force(self) -> bool:
        """Whether the file was read."""
        return self._bundle is not None

    def load(self) -> bool:
        """Read the file; true when the policy in force is another one now.

        Raises ``PolicyFileInvalid`` and ``StorageError``; the policy in force then stays.
        """
        self._seen = self._mark()
        try:
            bundle = self._load()
        except KeyleaseError as error:
            self._error, self._error_at = str(error), self._clock.now()
            raise
        self._error = ""
        before, self._bundle = self._bundle, bundle
        return before is None or before.version != bundle.version

    def _load(self) -> PolicyBundle:
        bundle = load_policy(
            self._path,
            organization_id=self._organization_id,
            version=self._high_water.version + 1,
            now=self._clock.now(),
        )
        plain = msgspec.structs.replace(bundle, version=0, issued_at=0)
        digest = hashlib.sha256(msgspec.msgpack.encode(plain)).hexdigest()
        if digest == self._high_water.digest:
            if self._bundle is not None:
                return self._bundle
            return msgspec.structs.replace(bundle, version=self._high_water.version)
        mark = _HighWater(version=bundle.version, digest=digest)
        files.replace(self._mark_path, msgspec.json.encode(mark))
        self._high_water = mark
        return bundle

    def _mark(self) -> FileMark | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def file_changed(self) -> bool:
        """Whether the file is not the one that was looked at last."""
        return self._mark() != self._seen

    @property
    def status(self) -> PolicyStatus:
        """For people."""
        bundle = self.bundle
        return PolicyStatus(
            path=str(self._path),
            version=bundle.version,
            loaded_at=bundle.issued_at,
            credentials=len(bundle.credentials),
            routes=len(bundle.routes),
            grants=len(bundle.grants),
            error=self._error,
            error_at=self._error_at if self._error else 0,
        )
