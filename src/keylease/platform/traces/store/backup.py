"""Copies an embedded store while it is written to, and makes a store of a copy.

1. Writing pauses for a moment, in which the engine freezes its tables: names for its files, which
   never change, so that this takes no copy and no time.
2. The frozen files are copied beside the target, each with its digest, and made durable.
3. A manifest is written, and the copy gets its name. What has no name is no back-up.

A back-up holds what was there when it was made, also what is removed afterwards: whoever removes
for good removes old back-ups too. On a server the server's own back-ups are used.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keylease.errors import TraceStoreTooNew, TraceStoreUnavailable
from keylease.platform.traces.store.backup_files import (
    FORMAT,
    PARTS,
    File,
    Manifest,
    Progress,
    check_room,
    copied,
    copy_file,
    counted,
    damaged,
    finished,
    manifest_of,
    partial_of,
)
from keylease.platform.traces.store.engine import Limits
from keylease.platform.traces.store.migrate import STEPS
from keylease.platform.traces.store.place import SHADOW, Place
from keylease.platform.traces.store.store import TABLES, TraceStore, open_embedded
from keylease.primitives.clock import Clock
from keylease.primitives.files import explained, make_private_directory, replace

_PIECE: Final = re.compile(r"[A-Za-z0-9_.%-]+")
"""A name of the engine's; columns have escapes in theirs (``attributes%2Ekeys.bin``)."""


def back_up(
    store: TraceStore,
    directory: Path,
    target: Path,
    *,
    clock: Clock,
    progress: Progress | None = None,
    reserve: int = 0,
) -> Manifest:
    """Copy the open embedded store in ``directory`` into ``target``, which must not exist yet.

    ``reserve``: bytes that the copy leaves free on the target's disk.
    Raises ``TraceStoreUnavailable``, ``StorageFull`` and ``StorageError``; then there is no target.
    """
    if target.exists():
        raise TraceStoreUnavailable(
            f"{target} exists already.", advice="Name a directory that does not exist yet."
        )
    name = f"backup_{uuid.uuid4().hex}"
    shadow = directory / "engine" / SHADOW / name
    partial = partial_of(target)
    try:
        with store.paused():
            for table in TABLES:
                store.engine.run(
                    store.layout.sql(f"ALTER TABLE @{table} FREEZE WITH NAME '{name}'")
                )
            filled = [table for table in TABLES if _parts(store, table)]
            applied = store.applied()
            taken_at = clock.now()
        frozen = list(_frozen(store, shadow, filled))
        make_private_directory(partial)
        size = sum(file.stat().st_size for _, file in frozen)
        check_room(partial, size, reserve=reserve)
        manifest = Manifest(
            format=FORMAT,
            store_id=store.store_id,
            schema=STEPS[-1].number,
            taken_at=taken_at,
            applied=applied,
            size=size,
            files=copied(frozen, partial / PARTS, progress),
        )
        finished(partial, target, manifest)
    except OSError as error:
        raise explained(error, target) from None
    finally:
        shutil.rmtree(shadow, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def read_manifest(source: Path) -> Manifest:
    """What the back-up in ``source`` is. Raises ``TraceStoreUnavailable``, ``TraceStoreTooNew``."""
    manifest = manifest_of(source)
    if manifest.format > FORMAT or manifest.schema > STEPS[-1].number:
        raise TraceStoreTooNew(
            "The back-up was made by a newer program.", advice="Restore it with that program."
        )
    return manifest


def restore(
    source: Path, directory: Path, *, limits: Limits | None = None, progress: Progress | None = None
) -> Manifest:
    """Make the store of a back-up in ``directory``, where no store may be.

    Every file is checked against the manifest before the engine sees it. When it fails, what was
    made is removed. Raises ``TraceStoreUnavailable``, ``TraceStoreTooNew`` and ``StorageError``.
    """
    manifest = read_manifest(source)
    place = Place(directory)
    known = place.known_id()
    if known and known != manifest.store_id:
        raise TraceStoreUnavailable(
            f"Another store belongs in {directory} than the one in the back-up.",
            advice=f"Move {directory}.id away if this one shall take its place.",
        )
    if directory.exists() and any(directory.iterdir()):
        raise TraceStoreUnavailable(
            f"{directory} is not empty.", advice="Move the store that is there away first."
        )
    identity = directory.with_name(f"{directory.name}.id")
    identity.unlink(missing_ok=True)
    try:
        open_embedded(directory, limits=limits, store_id=manifest.store_id).close()
        store = open_embedded(directory, limits=limits)
        try:
            _attach(store, manifest, source, progress)
        finally:
            store.close()
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if known:
            replace(identity, known.encode())
        else:
            identity.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explained(error, directory) from None
        raise
    return manifest


def _frozen(store: TraceStore, shadow: Path, tables: list[str]) -> Iterator[tuple[str, Path]]:
    """Every frozen file, and its path in the back-up."""
    engine = shadow.parent.parent.resolve()
    for table in tables:
        frozen = shadow / _data_path(store, table).resolve().relative_to(engine)
        if not frozen.is_dir():
            raise TraceStoreUnavailable(
                f"The engine did not freeze the table {table}.",
                advice="There is no back-up. Stop the server and copy the store's directory.",
            )
        for file in sorted(frozen.rglob("*")):
            if file.is_file():
                yield f"{table}/{file.relative_to(frozen)}", file


def _attach(store: TraceStore, manifest: Manifest, source: Path, progress: Progress | None) -> None:
    total, done = sum(file.size for file in manifest.files), 0
    parts: dict[tuple[str, str], None] = {}
    for file in manifest.files:
        table, part, name = _checked(file)
        target = _data_path(store, table) / "detached" / part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        told = counted(progress, done, total)
        if copy_file(source / PARTS / file.path, target, told) != (file.size, file.digest):
            raise damaged(file.path)
        parts[table, part] = None
        done += file.size
    for table, part in parts:
        store.engine.run(store.layout.sql(f"ALTER TABLE @{table} ATTACH PART '{part}'"))


def _checked(file: File) -> tuple[str, str, str]:
    """Table, part and name of a file in a back-up; a manifest is not to be trusted with paths."""
    table, _, rest = file.path.partition("/")
    part, _, name = rest.partition("/")
    safe = all(
        piece not in {".", ".."} and _PIECE.fullmatch(piece) for piece in (part, *name.split("/"))
    )
    if table not in TABLES or not safe:
        raise TraceStoreUnavailable(
            "The manifest of the back-up names files that no store has.",
            advice="Use another back-up.",
        )
    return table, part, name


def _parts(store: TraceStore, table: str) -> int:
    answer = store.select(
        "SELECT count() FROM system.parts "
        "WHERE active AND database = {d:String} AND table = {t:String}",
        {"d": store.layout.database, "t": table},
    )
    return int(str(answer.rows[0][0]))


def _data_path(store: TraceStore, table: str) -> Path:
    answer = store.select(
        "SELECT data_paths[1] FROM system.tables WHERE database = {d:String} AND name = {t:String}",
        {"d": store.layout.database, "t": table},
    )
    return Path(str(answer.rows[0][0]))
