"""The baseline: findings that are known.

It holds fingerprints under a key of its own, which lies in it, so that it can be committed and used
by everybody who has the repository. Secrets that could be guessed have no fingerprint; they are
known by their location.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from keylease.contracts.findings import (
    BASELINE_FORMAT,
    Baseline,
    BaselineEntry,
    Finding,
    Fingerprint,
)
from keylease.discovery.sightings import Sighting
from keylease.errors import FingerprintKeyInvalid, ScanInvalid
from keylease.primitives import files
from keylease.primitives.fingerprints import KEY_BYTES, FingerprintKey

_KEY_ID: Final = "baseline"
_MAXIMUM_BYTES: Final = 64 * 1024 * 1024
_NOT_RENAMED: Final = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""What the kernel says of a target that is a mount point, or in a directory that is not ours."""


class KnownFindings:
    """A baseline that was read, or the beginning of a new one."""

    def __init__(self, baseline: Baseline, key: FingerprintKey) -> None:
        """Use ``read_baseline`` or ``new_baseline``."""
        self.key = key
        self._fingerprints = {f for entry in baseline.findings for f in entry.fingerprints}
        self._locations = {entry.location for entry in baseline.findings if entry.location}
        self._of: dict[str, Fingerprint] = {}

    def knows(self, finding: Finding, sighting: Sighting) -> bool:
        """Whether the baseline has it. A secret without fingerprint: in all of its locations."""
        if sighting.baseline is not None:
            self._of[finding.id] = sighting.baseline
            return sighting.baseline in self._fingerprints
        return all(location.id in self._locations for location in finding.locations)

    def of(self, findings: Iterable[Finding]) -> bytes:
        """A baseline file that knows these findings, which ``knows`` was asked about before."""
        entries: list[BaselineEntry] = []
        for finding in findings:
            mine = self._of.get(finding.id)
            locations = [""] if mine else [location.id for location in finding.locations]
            entries += [
                BaselineEntry(
                    fingerprints=(mine,) if mine else (),
                    location=location,
                    provider=finding.provider,
                    masked=finding.masked,
                )
                for location in locations
            ]
        baseline = Baseline(
            key=base64.b64encode(self.key.danger_bytes()).decode(), findings=tuple(entries)
        )
        return msgspec.json.format(msgspec.json.encode(baseline), indent=2) + b"\n"


def read_baseline(path: Path) -> KnownFindings:
    """Read a baseline. Raises ``ScanInvalid``."""
    try:
        content = files.read_bounded(path, maximum=_MAXIMUM_BYTES)
    except OSError as error:
        raise ScanInvalid(
            f"The baseline {path} cannot be read: {os.strerror(error.errno or 0)}.",
            advice="`keylease scan --write-baseline FILE` makes one.",
        ) from None
    try:
        baseline = msgspec.json.decode(content, type=Baseline)
        if baseline.format != BASELINE_FORMAT:
            raise ScanInvalid(f"The baseline {path} was written by a newer version.")
        key = base64.b64decode(baseline.key, validate=True)
        return KnownFindings(baseline, FingerprintKey(key_id=_KEY_ID, version=1, key=key))
    except (msgspec.DecodeError, RecursionError, binascii.Error, ValueError, FingerprintKeyInvalid):
        raise ScanInvalid(f"{path} is no baseline of a scan.") from None


def new_baseline() -> KnownFindings:
    """A baseline that knows nothing yet."""
    key = os.urandom(KEY_BYTES)
    empty = Baseline(key="", findings=())
    return KnownFindings(empty, FingerprintKey(key_id=_KEY_ID, version=1, key=key))


def write_baseline(path: Path, content: bytes) -> None:
    """Write a baseline that others may read. Raises ``StorageError``.

    Written beside the file and renamed into its place, so that a scan which is killed leaves the
    old baseline whole. Links are followed first: the file may lie on another file system than the
    link to it. What cannot be renamed into, a pipe or a file that is mounted by itself, is written
    in its place.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        try:
            _write_beside(target, content)
        except OSError as error:
            if error.errno not in _NOT_RENAMED:
                raise
            target.write_bytes(content)
    except OSError as error:
        raise files.explained(error, path) from None


def _write_beside(target: Path, content: bytes) -> None:
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
