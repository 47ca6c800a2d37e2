"""What a back-up of an embedded store is on the disk: a manifest, and the files that it names.

    DIRECTORY/
      manifest.json            what is in it, each file with its size and SHA-256
      parts/TABLE/PART/NAME

Promises: a directory has its name only when everything in it is durable. Nothing here needs the
    engine, so that a back-up can be moved by a process that never loads it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from keylease.errors import StorageFull, TraceStoreUnavailable
from keylease.primitives.files import (
    explained,
    make_private_directory,
    read_bounded,
    replace,
    sync_directory,
)

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
PARTS: Final = "parts"
_PARTIAL: Final = ".partial-"
_CHUNK: Final = 1_048_576
_SYNC_EVERY: Final = 32
"""Chunks between two syncs: one of gigabytes would hold up those of the write-ahead log."""
_LARGEST_MANIFEST: Final = 256 * 1_048_576
Progress = Callable[[int, int], None]
"""Bytes that are done, and bytes in all. What it raises ends the copying."""
_Kind = TypeVar("_Kind")


class File(msgspec.Struct, frozen=True):
    """A file of a part."""

    path: str
    """``TABLE/PART/NAME``."""
    size: int
    digest: str
    """SHA-256."""


class Summary(msgspec.Struct, frozen=True):
    """A manifest without its files."""

    format: int
    store_id: str
    schema: int
    taken_at: int
    applied: int
    """The last transaction that is in it."""
    size: int = 0
    """Bytes of all files; 0 in back-ups of before it was noted."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a back-up is of, and what must be in it."""

    format: int
    store_id: str
    schema: int
    taken_at: int
    applied: int
    """The last transaction that is in it."""
    size: int = 0
    files: list[File]


def manifest_of(source: Path) -> Manifest:
    """The manifest of the back-up in ``source``. Raises ``TraceStoreUnavailable``."""
    return _decoded(source, Manifest)


def summary_of(source: Path) -> Summary:
    """As ``manifest_of``, without the files. Raises ``TraceStoreUnavailable``."""
    return _decoded(source, Summary)


def partial_of(target: Path) -> Path:
    """Where a back-up is made before it has its name."""
    return target.with_name(f"{target.name}{_PARTIAL}{os.getpid()}")


def is_partial(path: Path) -> bool:
    """Whether this is what an interrupted back-up left."""
    return _PARTIAL in path.name


def finished(partial: Path, target: Path, manifest: Manifest) -> None:
    """Write the manifest, and give the copy its name."""
    replace(partial / MANIFEST, msgspec.json.encode(manifest))
    partial.rename(target)
    sync_directory(target.parent)


def check_room(directory: Path, wanted: int, *, reserve: int) -> None:
    """Raise ``StorageFull`` where a copy would leave less than ``reserve`` bytes free."""
    free = shutil.disk_usage(directory).free
    if free < wanted + reserve:
        raise StorageFull(
            f"A copy of {wanted:,} bytes does not fit: {free:,} are free in {directory}, and "
            f"{reserve:,} of them are kept for what comes in.",
            advice="Make room, or remove an older back-up.",
        )


def copied(
    files: Sequence[tuple[str, Path]], target: Path, progress: Progress | None
) -> list[File]:
    """Copy files (each with its path in the back-up) durably below ``target``."""
    total, done, made = sum(file.stat().st_size for _, file in files), 0, []
    for path, file in files:
        copy = target / path
        make_private_directory(copy.parent)
        size, digest = copy_file(file, copy, counted(progress, done, total))
        made.append(File(path, size, digest))
        done += size
    _sync_directories(target, (copy.path for copy in made))
    return made


def moved(source: Path, target: Path, *, progress: Progress | None = None) -> None:
    """Give a back-up another place, which may be on another disk.

    Raises ``TraceStoreUnavailable`` and ``StorageError``; then it is where it was.
    """
    if target.exists():
        raise TraceStoreUnavailable(
            f"{target} exists already.", advice="Name a directory that does not exist yet."
        )
    make_private_directory(target.parent)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise explained(error, target) from None
        _copied_over(source, target, progress)
        shutil.rmtree(source)
    sync_directory(target.parent)


def copy_file(
    source: Path, target: Path, told: Callable[[int], None] = lambda _: None
) -> tuple[int, str]:
    """Copy a file durably; gives its size and its digest. ``told`` of the bytes so far."""
    digest, size, chunks = hashlib.sha256(), 0, 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            size, chunks = size + len(chunk), chunks + 1
            if chunks % _SYNC_EVERY == 0:
                writer.flush()
                os.fsync(writer.fileno())
            told(size)
        writer.flush()
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


def counted(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """What ``copy_file`` tells, added to what was done before."""
    return lambda size: progress(done + size, total) if progress is not None else None


def damaged(path: str) -> TraceStoreUnavailable:
    """What a file that is not the one of the manifest is answered with."""
    return TraceStoreUnavailable(
        f"The back-up is damaged: {path} is not what was written.", advice="Use another back-up."
    )


def _copied_over(source: Path, target: Path, progress: Progress | None) -> None:
    manifest = manifest_of(source)
    names = [(file.path, source / PARTS / file.path) for file in manifest.files]
    partial = partial_of(target)
    try:
        make_private_directory(partial)
        for was, now in zip(manifest.files, copied(names, partial / PARTS, progress), strict=True):
            if was != now:
                raise damaged(was.path)
        finished(partial, target, manifest)
    except OSError as error:
        raise explained(error, target) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync_directories(root: Path, paths: Iterable[str]) -> None:
    """Make the names of files durable, and the names of the directories above them."""
    directories = {parent for path in paths for parent in (root / path).parents}
    for directory in directories:
        if directory.is_relative_to(root.parent):
            sync_directory(directory)


def _decoded(source: Path, kind: type[_Kind]) -> _Kind:
    try:
        content = read_bounded(source / MANIFEST, maximum=_LARGEST_MANIFEST)
        return msgspec.json.decode(content, type=kind)
    except (OSError, msgspec.DecodeError):
        raise TraceStoreUnavailable(
            f"{source} is no back-up of a trace store.",
            advice="Name the directory that `keylease traces backup` made.",
        ) from None
