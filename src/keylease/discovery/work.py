"""The work of a scan, cut into jobs, and the process that does them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.detectors.scanning import Scanner
from keylease.discovery.git.command import Git
from keylease.discovery.git.objects import GitObject, ObjectReader
from keylease.discovery.inspecting import Inspector
from keylease.discovery.problems import Problems
from keylease.discovery.reading import Reader
from keylease.discovery.sightings import Yield
from keylease.discovery.verifying import HandOver
from keylease.primitives.fingerprints import FingerprintKey, FingerprintKeys


class FileJob(msgspec.Struct, frozen=True, array_like=True, tag="files"):
    """Files to look at."""

    paths: tuple[bytes, ...]
    follow_links: bool = False


class ObjectJob(msgspec.Struct, frozen=True, array_like=True, tag="objects"):
    """Objects of a repository to look at."""

    directory: bytes
    prefix: bytes
    """The repository's folder with a slash, which paths are shown below."""
    objects: tuple[GitObject, ...]


Job = FileJob | ObjectJob


class Equipment(NamedTuple):
    """What is needed for any job; the same in every process of a scan."""

    scanner: Scanner
    keys: FingerprintKeys
    scan_key: bytes
    git: Git | None
    baseline: FingerprintKey | None = None
    with_examples: bool = False
    hand_over: HandOver | None = None
    """Where found keys go when their providers are asked about them."""


class Bench:
    """Does jobs, one after the other. Close it when done."""

    def __init__(self, equipment: Equipment) -> None:
        self._git = equipment.git
        self._problems = Problems()
        self._inspector = Inspector(
            equipment.scanner,
            equipment.keys,
            scan_key=equipment.scan_key,
            problems=self._problems,
            baseline=equipment.baseline,
            with_examples=equipment.with_examples,
            hand_over=equipment.hand_over,
        )
        self._objects: ObjectReader | None = None

    @property
    def inspector(self) -> Inspector:
        """For what is no file and no object; ``take`` gives what it found."""
        return self._inspector

    def do(self, job: Job) -> Yield:
        """Do one job. What cannot be read is noted in what it gives."""
        if isinstance(job, FileJob):
            self._files(job)
        else:
            self._look_at_objects(job)
        return self._inspector.take()

    def close(self) -> None:
        """End what was started for jobs."""
        if self._objects is not None:
            self._objects.close()
            self._objects = None

    def _files(self, job: FileJob) -> None:
        reader = Reader(self._problems, follow_links=job.follow_links)
        paths = [os.fsdecode(path) for path in job.paths]
        for path in paths:
            for piece in reader.pieces(path):
                self._inspector.inspect(piece)
        self._inspector.inspect_names(paths)
        tally = self._inspector.tally
        tally.files += reader.files
        tally.bytes += reader.bytes
        tally.archive_members += reader.members
        tally.binaries += reader.binaries

    def _look_at_objects(self, job: ObjectJob) -> None:
        directory = Path(os.fsdecode(job.directory))
        if self._git is None:
            return
        if self._objects is None or self._objects.directory != directory:
            self.close()
            self._objects = ObjectReader(self._git, directory, self._problems)
        tally = self._inspector.tally
        for item, pieces in self._objects.read(job.objects, os.fsdecode(job.prefix)):
            tally.git_objects += 1
            kind = None if item.type == "blob" else PlaceKind.GIT_COMMIT
            for piece in pieces:
                tally.bytes += len(piece.data)
                self._inspector.inspect(piece, git_object=item.oid, kind=kind)


def single_jobs(job: Job) -> Iterator[Job]:
    """The same job, one file or object at a time, to find out which of them is the trouble."""
    if isinstance(job, FileJob):
        for path in job.paths:
            yield FileJob((path,), job.follow_links)
    else:
        for item in job.objects:
            yield ObjectJob(job.directory, job.prefix, (item,))


def subject(job: Job) -> str:
    """What a job of one file or object is about, for a report."""
    if isinstance(job, FileJob):
        return os.fsdecode(job.paths[0])
    return f"{os.fsdecode(job.directory)}: {job.objects[0].type} {job.objects[0].oid}"


def size(job: Job) -> int:
    """Files or objects in a job."""
    return len(job.paths if isinstance(job, FileJob) else job.objects)
