"""The repositories that a scan meets: which file belongs to which, and what is in their history."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from keylease.contracts.findings import Appearance, OwnerCandidate
from keylease.discovery.gathering import Met, MetName
from keylease.discovery.git import history, state
from keylease.discovery.git.appearances import HistoryPlace, history_places
from keylease.discovery.git.command import Git, GitFailed, git_directory
from keylease.discovery.git.objects import GitObject
from keylease.discovery.git.repository import (
    Repository,
    address,
    head_files,
    is_shallow,
    staged_files,
    tips,
)
from keylease.discovery.owners import CodeOwners, file_owner, last_authors
from keylease.discovery.problems import Problems
from keylease.discovery.sightings import NameSighting, Sighting
from keylease.discovery.work import ObjectJob

_OBJECTS_IN_A_JOB: Final = 256


class Repositories:
    """Every repository of one scan, by its folder."""

    def __init__(self, git: Git | None, problems: Problems) -> None:
        self._git = git
        self._problems = problems
        self._found: dict[str, Repository] = {}
        self._addresses: dict[Repository, str] = {}
        self._code_owners: dict[Repository, CodeOwners] = {}
        self._authors: dict[tuple[Repository, str], str] = {}
        self._tips: dict[Repository, list[str]] = {}
        self._broken: set[Repository] = set()

    def note(self, folder: Path) -> Repository | None:
        """A folder that may be a repository."""
        key = str(folder)
        if key not in self._found:
            directory = git_directory(folder)
            if directory is None:
                return None
            self._found[key] = Repository(folder, directory)
        return self._found[key]

    def note_around(self, path: Path) -> Repository | None:
        """The repository in which a path lies."""
        for folder in (path, *path.parents):
            found = self.note(folder)
            if found is not None:
                return found
        return None

    def __iter__(self) -> Iterator[Repository]:
        directories: set[str] = set()
        for repository in list(self._found.values()):
            real = os.path.realpath(repository.directory)
            if real not in directories:
                directories.add(real)
                yield repository

    # --- jobs ------------------------------------------------------------------------------

    def history_jobs(
        self, repository: Repository, *, states: Path | None, detectors: str
    ) -> Iterator[ObjectJob]:
        """What of a history has to be looked at. ``states`` is where earlier scans left theirs."""
        git, place = self._git, str(repository.directory)
        if git is None:
            self._problems.add("git_missing", place, "There is no git program to read it with.")
            return
        try:
            self._tips[repository] = tips(git, repository)
            if is_shallow(git, repository):
                self._problems.add(
                    "git_shallow", place, "It is a shallow clone; older commits are not here."
                )
            earlier = (
                state.read_state(states, repository.identity, detectors=detectors)
                if states
                else None
            )
            known = self._still_there(repository, earlier.tips) if earlier else []
            again = self._carriers(repository, earlier.carriers) if earlier else []
        except GitFailed as error:
            self._broken.add(repository)
            self._problems.add("git_history", place, f"It cannot be read: {error.reason}.")
            return
        seen = {item.oid for item in again}
        fresh = (
            item
            for item in history.objects(git, repository, self._problems, without=known)
            if item.oid not in seen
        )
        yield from _jobs(repository, again)
        yield from _jobs(repository, fresh)

    def staged_jobs(self, repository: Repository, *, before: bool) -> Iterator[ObjectJob]:
        """The staged content of files, or with ``before`` what it replaces."""
        if self._git is None:
            self._problems.add(
                "git_missing", str(repository.directory), "There is no git program to read it with."
            )
            return
        try:
            staged = staged_files(self._git, repository)
        except GitFailed as error:
            self._problems.add(
                "git_index", str(repository.directory), f"It cannot be read: {error.reason}."
            )
            return
        items = (
            GitObject(file.before if before else file.oid, "blob", file.path)
            for file in staged
            if file.before or not before
        )
        yield from _jobs(repository, items)

    def _still_there(self, repository: Repository, oids: Sequence[str]) -> list[str]:
        return [
            oid
            for oid, kind in self._kinds(repository, oids)
            if kind in {"commit", "tag", "tree", "blob"}
        ]

    def _carriers(self, repository: Repository, oids: Sequence[str]) -> list[GitObject]:
        """Objects in which something was found before, with the newest path of each."""
        if self._git is None:
            return []
        paths: dict[str, bytes] = {}
        wanted = frozenset(oids)
        for change in history.changes(self._git, repository, self._problems, of=wanted):
            if change.after in wanted:
                paths.setdefault(change.after, change.path)
        return [
            GitObject(oid, kind, paths.get(oid, b""))
            for oid, kind in self._kinds(repository, oids)
            if kind in {"commit", "tag", "blob"}
        ]

    def _kinds(self, repository: Repository, oids: Sequence[str]) -> Iterator[tuple[str, str]]:
        if self._git is None or not oids:
            return
        answer = self._git.output(
            repository.directory,
            "cat-file",
            "--batch-check=%(objectname) %(objecttype)",
            data="".join(f"{oid}\n" for oid in oids).encode(),
        )
        for line in answer.decode().splitlines():
            oid, _, kind = line.partition(" ")
            yield oid, kind

    # --- after the jobs --------------------------------------------------------------------

    def history_met(
        self,
        repository: Repository,
        sightings: Sequence[Sighting],
        names: Sequence[NameSighting],
    ) -> tuple[list[Met], list[MetName]]:
        """What was found in a history, with the commits that brought it and took it away."""
        if not (sightings or names) or self._git is None:
            return [], []
        prefix = _prefix(repository)
        places = [one.place for one in sightings] + [one.place for one in names]
        oids = frozenset(place.git_object for place in places)
        try:
            head = head_files(self._git, repository)
        except GitFailed as error:
            head = {}
            self._problems.add(
                "git_history", str(repository.directory), f"Its newest commit: {error.reason}."
            )
        changes = list(history.changes(self._git, repository, self._problems, of=oids))
        address = self.address(repository)
        return (
            [
                Met(one.sighting, *_where(repository, address, one))
                for one in history_places(sightings, changes, head, prefix=prefix)
            ],
            [
                MetName(one.sighting, *_where(repository, address, one))
                for one in history_places(names, changes, head, prefix=prefix)
            ],
        )

    def remember(
        self,
        repository: Repository,
        sightings: Iterable[Sighting | NameSighting],
        *,
        states: Path,
        detectors: str,
    ) -> None:
        """Leave for the next scan what has been looked at. Raises ``StorageError``."""
        if repository in self._broken or repository not in self._tips:
            return
        carriers = sorted({sighting.place.git_object for sighting in sightings})
        state.write_state(
            states,
            repository.identity,
            state.HistoryState(
                detectors=detectors,
                tips=tuple(self._tips[repository]),
                carriers=tuple(carriers),
            ),
        )

    def address(self, repository: Repository) -> str:
        """What tells two checkouts of one repository from others."""
        if repository not in self._addresses:
            self._addresses[repository] = address(self._git, repository) if self._git else ""
        return self._addresses[repository]

    def of(self, path: str) -> tuple[Repository, str] | None:
        """The repository that a file lies in, and its path there."""
        parent = path.partition("!/")[0]
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            found = self._found.get(parent or "/")
            if found is not None:
                return found, path[len(parent.rstrip("/")) + 1 :]
        return None

    # --- owners ----------------------------------------------------------------------------

    def learn_authors(self, paths: Iterable[str]) -> None:
        """Find out who last committed to these files."""
        wanted: dict[Repository, list[str]] = {}
        for path in paths:
            found = self.of(path)
            if found is not None:
                wanted.setdefault(found[0], []).append(found[1].partition("!/")[0])
        for repository, files in wanted.items():
            if self._git is not None:
                for file, author in last_authors(self._git, repository, files).items():
                    self._authors[(repository, file)] = author

    def owners(self, met: Met | MetName) -> Iterator[OwnerCandidate]:
        """Who may own a place, the most telling reason first."""
        found = self.of(met.path)
        if found is not None:
            repository, path = found
            inside = path.partition("!/")[0]
            if repository not in self._code_owners:
                self._code_owners[repository] = CodeOwners.of(repository.folder)
            yield from self._code_owners[repository].owners(inside)
            if met.first is not None and met.first.author:
                yield OwnerCandidate(met.first.author, "commit that brought it")
            elif author := self._authors.get((repository, inside)):
                yield OwnerCandidate(author, "last commit to the file")
        if met.path.startswith("/") and isinstance(met.sighting, Sighting | NameSighting):
            owner = file_owner(met.path.partition("!/")[0])
            if owner:
                yield OwnerCandidate(owner, "owner of the file")


class _Where(NamedTuple):
    """What ``Met`` and ``MetName`` say beyond the sighting, in their order."""

    path: str
    repository: str
    repository_path: str
    in_history_only: bool
    first: Appearance | None
    last: Appearance | None
    removed: Appearance | None


def _where(
    repository: Repository,
    address: str,
    place: HistoryPlace[Sighting] | HistoryPlace[NameSighting],
) -> _Where:
    inside, oid = os.fsdecode(place.sighting.place.path), place.sighting.place.git_object
    return _Where(
        path=str(repository.folder / inside) if inside else f"{repository.folder}: {oid[:12]}",
        repository=address,
        repository_path=inside or oid,
        in_history_only=not place.at_head,
        first=place.first,
        last=place.last,
        removed=place.removed,
    )


def _prefix(repository: Repository) -> bytes:
    return os.fsencode(str(repository.folder).rstrip("/") + "/")


def _jobs(repository: Repository, items: Iterable[GitObject]) -> Iterator[ObjectJob]:
    batch: list[GitObject] = []
    for item in items:
        batch.append(item)
        if len(batch) == _OBJECTS_IN_A_JOB:
            yield _job(repository, batch)
            batch = []
    if batch:
        yield _job(repository, batch)


def _job(repository: Repository, batch: Sequence[GitObject]) -> ObjectJob:
    return ObjectJob(os.fsencode(repository.directory), _prefix(repository), tuple(batch))
