"""One scan, from what was asked to its report.

It goes on whatever it meets: what cannot be read is noted. Ctrl-C ends the looking, and what was
found until then is reported.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import keylease
from keylease.contracts.findings import (
    PlaceKind,
    ReadProblem,
    ScanCounts,
    ScanReport,
)
from keylease.contracts.verification import Verdict
from keylease.detectors.scanning import Scanner
from keylease.discovery.baseline import KnownFindings
from keylease.discovery.gathering import Gathering, Met, MetName
from keylease.discovery.git.command import Git
from keylease.discovery.git.repository import Repository
from keylease.discovery.inspecting import Inspector
from keylease.discovery.pieces import Piece
from keylease.discovery.problems import Problems
from keylease.discovery.process_environments import environments
from keylease.discovery.repositories import Repositories
from keylease.discovery.showing import Shown
from keylease.discovery.sightings import NameSighting, Sighting, Tally
from keylease.discovery.verifying import Verifier, verdict_of
from keylease.discovery.walker import Walker
from keylease.discovery.work import Bench, Equipment, FileJob, Job
from keylease.discovery.workers import work_through
from keylease.errors import ScanInvalid
from keylease.primitives.clock import Clock
from keylease.primitives.fingerprints import FingerprintKeys

if TYPE_CHECKING:
    from keylease.discovery.cluster.reading import Cluster  # an HTTP client: slow to load

_FILES_IN_A_JOB: Final = 64
_SCAN_KEY_BYTES: Final = 32


class Wanted(NamedTuple):
    """What a scan is to look at."""

    roots: tuple[tuple[str, str], ...] = ()
    """Absolute paths, and what the user called them."""
    history: bool = False
    staged: bool = False
    machine: tuple[Path, ...] = ()
    """Files and folders beyond the roots; given, the processes' environments are read too."""
    crontab: Piece | None = None
    cluster: Cluster | None = None
    include_ignored: bool = False
    with_examples: bool = False


class Surroundings(NamedTuple):
    """What a scan works with."""

    clock: Clock
    keys: FingerprintKeys
    git: Git | None
    home: Path
    host: str
    states: Path | None
    """Where scans of histories leave what the next one need not look at; None: nowhere."""
    detectors: str
    """Which detectors these are; a history that others looked at is looked at again."""
    processes: int
    global_ignore_files: tuple[Path, ...] = ()
    baseline: KnownFindings | None = None
    proc: Path = Path("/proc")
    verifier: Verifier | None = None
    """Asks providers about what is found; None: nobody is asked."""


class Progress(NamedTuple):
    """How far a scan is."""

    files: int
    bytes: int
    objects: int
    secrets: int


def scan(
    wanted: Wanted,
    surroundings: Surroundings,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ScanReport:
    """Look at everything that is wanted. Raises ``ScanInvalid`` for a root that is not there."""
    try:
        for absolute, given in wanted.roots:
            if not os.path.lexists(absolute):
                raise ScanInvalid(f"There is no {given}.", advice="Check the path.")
        return _Scan(wanted, surroundings, progress).run()
    finally:
        if surroundings.verifier is not None:
            surroundings.verifier.abandon()


class _Scan:
    def __init__(
        self, wanted: Wanted, surroundings: Surroundings, progress: Callable[[Progress], None]
    ) -> None:
        self._wanted = wanted
        self._with = surroundings
        self._progress = progress
        self._started = surroundings.clock.now()
        self._problems = Problems()
        self._repositories = Repositories(surroundings.git, self._problems)
        self._walker = Walker(
            self._problems,
            git=surroundings.git,
            include_ignored=wanted.include_ignored,
            global_ignore_files=surroundings.global_ignore_files,
            on_repository=self._repositories.note,
        )
        baseline = surroundings.baseline
        self._scanner = Scanner()
        self._equipment = Equipment(
            scanner=self._scanner,
            keys=surroundings.keys,
            scan_key=os.urandom(_SCAN_KEY_BYTES),
            git=surroundings.git,
            baseline=baseline.key if baseline else None,
            with_examples=wanted.with_examples,
            hand_over=surroundings.verifier.hand_over if surroundings.verifier else None,
        )
        self._sightings: list[Sighting] = []
        self._names: list[NameSighting] = []
        self._tally = Tally()
        self._interrupted = False

    def run(self) -> ScanReport:
        try:
            if self._wanted.staged:
                self._look_at_staged()
            else:
                for result in work_through(
                    self._jobs(), self._equipment, processes=self._with.processes
                ):
                    self._take(result.sightings, result.names, result.problems, result.tally)
                self._look_beyond_files()
        except KeyboardInterrupt:
            self._interrupted = True
        return self._report()

    # --- looking ---------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        seen: set[str] = set()
        for root, _ in self._wanted.roots:
            self._repositories.note_around(Path(root))
        for root in [root for root, _ in self._wanted.roots]:
            yield from self._file_jobs(root, seen)
        for place in self._wanted.machine:
            yield from self._file_jobs(str(place), seen)
        if self._wanted.history:
            for repository in self._repositories:
                yield from self._repositories.history_jobs(
                    repository, states=self._states, detectors=self._with.detectors
                )

    def _file_jobs(self, root: str, seen: set[str]) -> Iterator[Job]:
        fresh = (path for path in self._walker.walk(root) if path not in seen)
        asked_for = Path(root).is_file()
        while batch := list(islice(fresh, _FILES_IN_A_JOB)):
            seen.update(batch if len(self._wanted.roots) + len(self._wanted.machine) > 1 else ())
            yield FileJob(tuple(map(os.fsencode, batch)), follow_links=asked_for)

    def _look_at_staged(self) -> None:
        """New secrets of what is staged: what the file held in the newest commit is not new."""
        bench = Bench(self._equipment)
        # What a commit takes out is not asked about.
        before = Bench(self._equipment._replace(hand_over=None))
        try:
            for root, _ in self._wanted.roots:
                repository = self._repositories.note_around(Path(root))
                if repository is None:
                    raise ScanInvalid(
                        f"{root} lies in no git repository.", advice="Leave --staged out."
                    )
            for repository in self._repositories:
                old = {
                    (sighting.digest, sighting.place.path)
                    for job in self._repositories.staged_jobs(repository, before=True)
                    for sighting in before.do(job).sightings
                }
                for job in self._repositories.staged_jobs(repository, before=False):
                    result = bench.do(job)
                    new = [
                        sighting
                        for sighting in result.sightings
                        if (sighting.digest, sighting.place.path) not in old
                    ]
                    self._take(new, (), result.problems, result.tally)
        finally:
            bench.close()
            before.close()

    def _look_beyond_files(self) -> None:
        """Process environments and clusters: from this process, which holds what they gave."""
        bench = Bench(self._equipment)
        if self._wanted.machine:
            for piece in environments(self._problems, proc=self._with.proc):
                bench.inspector.inspect(piece, kind=PlaceKind.PROCESS_ENVIRONMENT)
        if self._wanted.crontab is not None:
            bench.inspector.inspect(self._wanted.crontab, kind=PlaceKind.SCHEDULE)
        if self._wanted.cluster is not None:
            self._look_at_cluster(self._wanted.cluster, bench.inspector)
        result = bench.inspector.take()
        self._take(result.sightings, result.names, result.problems, result.tally)

    def _look_at_cluster(self, cluster: Cluster, inspector: Inspector) -> None:
        from keylease.discovery.cluster.reading import read_cluster  # noqa: PLC0415 - see Cluster

        for met in read_cluster(cluster, self._problems):
            if isinstance(met, NameSighting):
                inspector.note_name(met)
            else:
                inspector.inspect(
                    met.piece,
                    kind=PlaceKind.KUBERNETES_CLUSTER,
                    environment=met.environment,
                    owners=met.owners,
                )

    def _take(
        self,
        sightings: Iterable[Sighting],
        names: Iterable[NameSighting],
        problems: Iterable[ReadProblem],
        tally: Tally,
    ) -> None:
        self._sightings.extend(sightings)
        self._names.extend(names)
        self._problems.extend(problems)
        self._tally.add(tally)
        self._progress(
            Progress(
                files=self._tally.files,
                bytes=self._tally.bytes,
                objects=self._tally.git_objects,
                secrets=len(self._sightings),
            )
        )

    @property
    def _states(self) -> Path | None:
        # What counts as found differs with examples, so that their scans leave no state.
        return None if self._wanted.with_examples else self._with.states

    # --- reporting -------------------------------------------------------------------------

    def _report(self) -> ScanReport:
        shown = Shown(self._scanner, self._wanted.roots, self._with.home)
        met, names = self._met()
        self._repositories.learn_authors(
            one.path for one in met if one.first is None and one.path.startswith("/")
        )
        gathering = Gathering(shown, host=self._with.host, owners=self._repositories.owners)
        baseline = self._with.baseline
        findings = gathering.findings(
            met,
            known=baseline.knows if baseline else lambda _finding, _sighting: False,
            told=self._told(),
        )
        problems = tuple(
            ReadProblem(
                code=problem.code,
                path=shown.path(problem.path),
                message=shown.text(problem.message),
                count=problem.count,
                incomplete=problem.incomplete,
            )
            for problem in self._problems
        )
        return ScanReport(
            scanner=f"keylease {keylease.__version__}",
            started_at=self._started,
            finished_at=self._with.clock.now(),
            host=self._with.host,
            roots=tuple(given for _, given in self._wanted.roots),
            complete=not self._interrupted and not any(p.incomplete for p in problems),
            interrupted=self._interrupted,
            fingerprint_key=str(self._with.keys.current),
            covers=self._covers(shown),
            history=self._wanted.history,
            counts=ScanCounts(
                files=self._tally.files,
                bytes=self._tally.bytes,
                archive_members=self._tally.archive_members,
                git_objects=self._tally.git_objects,
                ignored=self._walker.ignored,
                binaries=self._tally.binaries,
                links=self._walker.links,
                placeholders=self._tally.examples,
            ),
            findings=tuple(findings),
            mentions=tuple(gathering.mentions(names)),
            practices=tuple(gathering.practices(names)),
            problems=problems,
        )

    def _covers(self, shown: Shown) -> tuple[str, ...]:
        wanted = self._wanted
        beyond = {
            "machine": bool(wanted.machine),
            "ignored files": wanted.include_ignored,
            "examples": wanted.with_examples,
        }
        cluster = (f"cluster {wanted.cluster.access.context}",) if wanted.cluster else ()
        return (
            *sorted({shown.text(absolute) for absolute, _ in wanted.roots}),
            *(name for name, looked_at in beyond.items() if looked_at),
            *map(shown.text, cluster),
        )

    def _told(self) -> Callable[[Sighting], Verdict] | None:
        """What providers say; Ctrl-C gives up waiting for it, and keeps what was found."""
        verifier = self._with.verifier
        if verifier is None:
            return None
        verdicts: Mapping[bytes, Verdict] = {}
        try:
            if not self._interrupted:
                verdicts = verifier.verdicts()
        except KeyboardInterrupt:
            self._interrupted = True
        return lambda sighting: verdict_of(sighting, verdicts)

    def _met(self) -> tuple[list[Met], list[MetName]]:
        files = [self._met_file(one) for one in self._sightings if self._is_file(one)]
        named = [self._met_name(one) for one in self._names if self._is_file(one)]
        if self._wanted.staged:
            return files, named
        repositories = list(self._repositories)
        secrets = _by_repository(self._sightings, repositories)
        names = _by_repository(self._names, repositories)
        history: list[Met] = []
        past: list[MetName] = []
        for repository in repositories if self._wanted.history else ():
            if self._interrupted:
                history += map(self._met_file, secrets[repository])
                past += map(self._met_name, names[repository])
                continue
            met = self._repositories.history_met(repository, secrets[repository], names[repository])
            history += met[0]
            past += met[1]
            if self._states is not None:
                self._repositories.remember(
                    repository,
                    (*secrets[repository], *names[repository]),
                    states=self._states,
                    detectors=self._with.detectors,
                )
        return _joined(files, history), _joined_names(named, past)

    def _is_file(self, one: Sighting | NameSighting) -> bool:
        return self._wanted.staged or not one.place.git_object

    def _met_file(self, one: Sighting) -> Met:
        path = os.fsdecode(one.place.path)
        repository, inside = self._in_repository(path)
        return Met(one, path, repository, inside)

    def _met_name(self, one: NameSighting) -> MetName:
        path = os.fsdecode(one.place.path)
        repository, inside = self._in_repository(path)
        return MetName(one, path, repository, inside)

    def _in_repository(self, path: str) -> tuple[str, str]:
        found = self._repositories.of(path) if path.startswith("/") else None
        if found is None:
            return "", ""
        name = self._repositories.address(found[0])
        return (name, found[1]) if name else ("", "")


Found = TypeVar("Found", Sighting, NameSighting)


def _by_repository(
    found: Iterable[Found], repositories: Iterable[Repository]
) -> Mapping[Repository, list[Found]]:
    """What was met in objects, by the repository that has them."""
    prefixes = [(os.fsencode(f"{r.folder}/"), r) for r in repositories]
    prefixes.sort(key=lambda entry: len(entry[0]), reverse=True)
    grouped: Mapping[Repository, list[Found]] = defaultdict(list)
    for one in found:
        if one.place.git_object:
            owner = next(r for prefix, r in prefixes if one.place.path.startswith(prefix))
            grouped[owner].append(one)
    return grouped


def _joined_names(files: list[MetName], history: list[MetName]) -> list[MetName]:
    """A name in a file and in that file's history is in one place; so it is for secrets."""
    there = {(one.sighting.digest, one.path) for one in files}
    past = {(one.sighting.digest, one.path): one for one in history if not one.in_history_only}
    joined = []
    for file in files:
        brought = past.get((file.sighting.digest, file.path))
        joined.append(
            file if brought is None else file._replace(first=brought.first, last=brought.last)
        )
    return joined + [
        one
        for one in history
        if one.in_history_only or (one.sighting.digest, one.path) not in there
    ]


def _joined(files: list[Met], history: list[Met]) -> list[Met]:
    """A secret in a file and in that file's history is in one place, not two."""
    commits = {(one.sighting.digest, one.path): one for one in history if not one.in_history_only}
    joined, used = [], set[tuple[bytes, str]]()
    for file in files:
        key = (file.sighting.digest, file.path)
        past = commits.get(key)
        if past is None:
            joined.append(file)
        else:
            used.add(key)
            joined.append(file._replace(first=past.first, last=past.last))
    return joined + [
        one for one in history if one.in_history_only or (one.sighting.digest, one.path) not in used
    ]
