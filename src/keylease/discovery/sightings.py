"""What passes between the processes of one scan, and from its sources to the report.

It stays on this machine and in memory. A secret is in it as a digest under a key of this one scan,
which tells equal ones apart from others, and as fingerprints; never as itself.
"""

from __future__ import annotations

import hashlib

import msgspec

from keylease.contracts.findings import (
    Confidence,
    Fingerprint,
    OwnerCandidate,
    PlaceKind,
    ReadProblem,
)


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where something was met. Paths are the system's bytes: not every one of them is text."""

    path: bytes
    kind: PlaceKind
    line: int = 0
    column: int = 0
    name: str = ""
    environment: str = ""
    detail: str = ""
    owners: tuple[OwnerCandidate, ...] = ()
    git_object: str = ""
    """The blob, commit or tag it was met in, when it was met in one."""


class Sighting(msgspec.Struct, frozen=True, array_like=True):
    """One secret in one place."""

    digest: bytes
    provider: str
    kind: str
    confidence: Confidence
    reason: str
    nature: str
    masked: str
    key_id: str
    key_id_digest: bytes
    fingerprints: tuple[Fingerprint, ...]
    baseline: Fingerprint | None
    """Under the key of the baseline, when there is one."""
    encodings: tuple[str, ...]
    place: Place


class NameSighting(msgspec.Struct, frozen=True, array_like=True):
    """A name without a value, or a practice, in one place."""

    name: str
    provider: str
    reason: str
    practice: bool
    place: Place
    refers_to: str = ""

    @property
    def digest(self) -> bytes:
        """What tells it from other names in the same file, over all its versions."""
        place = self.place
        told = f"{self.name}\0{self.reason}\0{place.detail}\0{place.environment}"
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()


class Tally(msgspec.Struct, array_like=True):
    """What was looked at."""

    files: int = 0
    bytes: int = 0
    archive_members: int = 0
    git_objects: int = 0
    binaries: int = 0
    examples: int = 0

    def add(self, other: Tally) -> None:
        """Count another's too."""
        self.files += other.files
        self.bytes += other.bytes
        self.archive_members += other.archive_members
        self.git_objects += other.git_objects
        self.binaries += other.binaries
        self.examples += other.examples


class Yield(msgspec.Struct, array_like=True):
    """What one piece of work gave."""

    sightings: list[Sighting]
    names: list[NameSighting]
    problems: tuple[ReadProblem, ...]
    tally: Tally
