"""Goes through directory trees and says which files to read.

What an ignore file names is left out, with one exception: files of the environment, configuration
and credential family are read all the same, because that is where keys lie and ignore files are
what keeps them out of git. Symbolic links are not followed, so there are no loops; what they lead
to is read where it lies.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from keylease.discovery import ignoring
from keylease.discovery.family import (
    DEPENDENCY_DIRECTORIES,
    PSEUDO_FILE_SYSTEMS,
    holds_credentials,
)
from keylease.discovery.git.command import Git, GitFailed, git_directory, is_bare
from keylease.discovery.problems import Problems
from keylease.primitives import files

_IGNORE_FILES: Final = (".gitignore", ".keyleaseignore")
_MAXIMUM_IGNORE_BYTES: Final = 4 * 1024 * 1024
_MAXIMUM_DEPTH: Final = 500


class _Frame(NamedTuple):
    """An ignore file in force."""

    base: int
    """Characters of a path up to and with the slash after the ignore file's directory."""
    rules: ignoring.IgnoreRules


class _Folder(NamedTuple):
    path: str
    frames: tuple[_Frame, ...]
    only_family: bool
    """It lies in what is ignored: only the environment and credential family is read."""
    tracked: frozenset[str]
    depth: int


class Walker:
    """Walks each root once, in the order of names."""

    def __init__(
        self,
        problems: Problems,
        *,
        git: Git | None,
        include_ignored: bool = False,
        global_ignore_files: tuple[Path, ...] = (),
        on_repository: Callable[[Path], object] = lambda _: None,
    ) -> None:
        """``on_repository`` is told of each repository's folder when it is met."""
        self._problems = problems
        self._git = git
        self._include_ignored = include_ignored
        self._global = global_ignore_files
        self._on_repository = on_repository
        self.ignored = 0
        self.links = 0

    def walk(self, root: str) -> Iterator[str]:
        """Paths of the files below ``root``, an absolute path, or itself when it is a file."""
        try:
            mode = Path(root).stat().st_mode
        except OSError as error:
            self._problems.failed(root, error)
            return
        if stat.S_ISREG(mode):
            yield root
            return
        if not stat.S_ISDIR(mode):
            self._problems.add("not_a_file", root, "It is neither a file nor a directory.")
            return
        pending = [self._first(root)]
        while pending:
            folder = pending.pop()
            below: list[_Folder] = []
            yield from self._read(folder, below)
            pending.extend(reversed(below))

    # --- one folder ------------------------------------------------------------------------

    def _read(self, folder: _Folder, below: list[_Folder]) -> Iterator[str]:
        found = self._listed(folder)
        names = {entry.name for entry in found}
        if folder.only_family and "pyvenv.cfg" in names:
            self.ignored += 1  # a virtual environment under whatever name
            return
        if ".git" in names:
            folder = self._enter_repository(folder)
        elif names >= {"HEAD", "objects", "refs"} and is_bare(Path(folder.path)):
            self._on_repository(Path(folder.path))
            yield f"{folder.path}/config"
            return
        if not self._include_ignored and not names.isdisjoint(_IGNORE_FILES):
            frames = self._with_ignore_files(folder.path, folder.frames, names)
            folder = folder._replace(frames=frames)
        for entry in found:
            try:
                yield from self._entry(folder, entry, below)
            except OSError as error:
                self._problems.failed(entry.path, error)

    def _listed(self, folder: _Folder) -> list[os.DirEntry[str]]:
        if folder.depth > _MAXIMUM_DEPTH:
            self._problems.add("too_deep", folder.path, "The directories nest too deeply.")
            return []
        try:
            with os.scandir(folder.path) as entries:
                return sorted(entries, key=_name)
        except OSError as error:
            self._problems.failed(folder.path, error)
            return []

    def _entry(
        self, folder: _Folder, entry: os.DirEntry[str], below: list[_Folder]
    ) -> Iterator[str]:
        name, path = entry.name, entry.path
        if entry.is_symlink():
            self.links += 1
        elif entry.is_dir(follow_symlinks=False):
            following = self._descend(folder, name, path)
            if following is not None:
                below.append(following)
            elif name == ".git":
                yield from _own_files(path)
        elif entry.is_file(follow_symlinks=False) and self._wanted(folder, name, path):
            yield path

    def _wanted(self, folder: _Folder, name: str, path: str) -> bool:
        if self._include_ignored or path in folder.tracked:
            return True
        if folder.only_family or _ignored(folder.frames, path, name, is_directory=False):
            if holds_credentials(name, path):
                return True
            self.ignored += 1
            return False
        return True

    def _descend(self, folder: _Folder, name: str, path: str) -> _Folder | None:
        if name == ".git" or path in PSEUDO_FILE_SYSTEMS:
            return None
        only_family = folder.only_family
        if not self._include_ignored and (
            only_family or _ignored(folder.frames, path, name, is_directory=True)
        ):
            if name in DEPENDENCY_DIRECTORIES and f"{path}/" not in folder.tracked:
                self.ignored += 1
                return None
            only_family = True
        return _Folder(path, folder.frames, only_family, folder.tracked, folder.depth + 1)

    # --- ignore files ----------------------------------------------------------------------

    def _first(self, root: str) -> _Folder:
        """The folder to begin with, and the rules that its repository has above it."""
        path = Path(root)
        empty = _Folder(root, (), only_family=False, tracked=frozenset(), depth=0)
        top = next((parent for parent in path.parents if (parent / ".git").exists()), None)
        if top is None or (path / ".git").exists():
            return empty
        folder = self._enter_repository(empty._replace(path=str(top)), announce=False)
        frames = folder.frames
        for parent in reversed([p for p in path.parents if p == top or top in p.parents]):
            frames = self._with_ignore_files(str(parent), frames, _IGNORE_FILES)
        if _ignored(frames, root, path.name, is_directory=True):
            return empty  # asked for by name: what is above does not count
        return folder._replace(path=root, frames=frames)

    def _enter_repository(self, folder: _Folder, *, announce: bool = True) -> _Folder:
        """A repository's rules are its own and the user's, not those of a folder around it."""
        path = Path(folder.path)
        if announce:
            self._on_repository(path)
        frames = [self._frame("", file, base=folder.path) for file in self._global]
        directory = git_directory(path)
        tracked: frozenset[str] = frozenset()
        if directory is not None:
            frames.append(self._frame("info/exclude", directory, base=folder.path))
            tracked = self._tracked_though_ignored(path, directory)
        return folder._replace(frames=tuple(frame for frame in frames if frame), tracked=tracked)

    def _with_ignore_files(
        self, path: str, frames: tuple[_Frame, ...], names: Container[str]
    ) -> tuple[_Frame, ...]:
        found = [self._frame(name, Path(path)) for name in _IGNORE_FILES if name in names]
        return (*frames, *(frame for frame in found if frame))

    def _frame(self, name: str, directory: Path, *, base: str = "") -> _Frame | None:
        file = directory / name
        try:
            content = files.read_bounded(file, maximum=_MAXIMUM_IGNORE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._problems.failed(str(file), error)
            return None
        rules = ignoring.parse(content.decode("utf-8-sig", errors="surrogateescape"))
        return _Frame(len((base or str(directory)).rstrip("/")) + 1, rules) if rules else None

    def _tracked_though_ignored(self, path: Path, directory: Path) -> frozenset[str]:
        """Files that an ignore file names and that git keeps all the same, and their folders."""
        if self._git is None:
            return frozenset()
        try:
            listed = self._git.output(
                directory, f"--work-tree={path}", "ls-files", "-z", "-c", "-i", "--exclude-standard"
            )
        except GitFailed:
            return frozenset()  # a damaged index; the history scan says what is wrong with it
        found: set[str] = set()
        for name in filter(None, listed.split(b"\0")):
            file = path / os.fsdecode(name)
            found.add(str(file))
            found.update(f"{parent}/" for parent in file.parents if path in parent.parents)
        return frozenset(found)


def _ignored(frames: tuple[_Frame, ...], path: str, name: str, *, is_directory: bool) -> bool:
    """The last pattern that says something decides, the innermost file's first."""
    for frame in reversed(frames):
        decision = frame.rules.decide(path[frame.base :], name, is_directory=is_directory)
        if decision is not None:
            return decision
    return False


def _own_files(git: str) -> Iterator[str]:
    """What people write into a git directory: remotes with a password in them, hooks."""
    if os.path.isfile(f"{git}/config"):  # noqa: PTH113 - paths are text here
        yield f"{git}/config"
    try:
        with os.scandir(f"{git}/hooks") as entries:
            hooks = sorted(
                entry.path
                for entry in entries
                if entry.is_file(follow_symlinks=False) and not entry.name.endswith(".sample")
            )
    except OSError:
        return  # most repositories have none, and what is not there holds nothing
    yield from hooks


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
