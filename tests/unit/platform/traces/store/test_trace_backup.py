"""Back-ups while rows are written, and restoring: what comes back is what was there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.trace_stores import (
    FIRST,
    ORGANIZATION,
    SMALL,
    Writes,
    a_span,
    applied,
    new_id,
)

from keylease.errors import StorageError, StorageFull, TraceStoreUnavailable
from keylease.platform.traces.interfaces import Payload
from keylease.platform.traces.model import Span
from keylease.platform.traces.store import backup, backup_files
from keylease.platform.traces.store.backup_files import manifest_of, moved, summary_of
from keylease.platform.traces.store.place import SHADOW, is_in_use
from keylease.platform.traces.store.store import TraceStore, open_embedded


@contextlib.contextmanager
def filled(directory: Path) -> Iterator[tuple[TraceStore, str, Payload]]:
    with contextlib.closing(open_embedded(directory, limits=SMALL)) as store:
        # A part of many rows has files for each column, with names of their own.
        store.engine.run(
            "ALTER TABLE `keylease`.`spans` MODIFY SETTING min_bytes_for_wide_part = 0"
        )
        yield (store, *_fill(store))


def _fill(store: TraceStore) -> tuple[str, Payload]:
    trace = new_id()
    text = "large " * 1000
    payload = Payload(hashlib.sha256(text.encode()).hexdigest(), text)
    row = a_span(trace_id=trace, input=text[:10], input_payload=payload.digest)
    store.apply(*applied(Writes(FIRST + 1).put(row, payload)))
    store.apply(*applied(Writes(FIRST + 2).merge(trace, "b" * 16, tags=["x"])))
    return trace, payload


def test_a_backup_made_while_rows_are_written_is_restored_whole(tmp_path: Path) -> None:
    with filled(tmp_path / "store") as (store, trace, payload):
        manifest, expected, history = _backed_up_meanwhile(store, trace, tmp_path)
    with pytest.raises(TraceStoreUnavailable, match="is not empty"):
        backup.restore(tmp_path / "copy", tmp_path / "store", limits=SMALL)
    backup.restore(tmp_path / "copy", tmp_path / "again" / "store", limits=SMALL)
    with contextlib.closing(open_embedded(tmp_path / "again" / "store", limits=SMALL)) as again:
        assert again.store_id == manifest.store_id
        assert again.applied() == manifest.applied
        rows = again.select("SELECT trace_id FROM spans FINAL ORDER BY trace_id").rows
        assert rows == expected
        assert again.reader.history(ORGANIZATION, "project", trace, "b" * 16) == history
        text = again.reader.payload(ORGANIZATION, "project", trace, payload.digest)
        assert text == payload.text


def _backed_up_meanwhile(
    store: TraceStore, trace: str, tmp_path: Path
) -> tuple[backup_files.Manifest, Sequence[object], list[Span]]:
    stop = threading.Event()
    traces = [trace]

    def write() -> None:
        for number in range(FIRST + 10, FIRST + 60):
            if stop.is_set():
                return
            traces.append(new_id())
            store.apply(*applied(Writes(number).put(a_span(trace_id=traces[-1]))))

    seen: list[tuple[int, int]] = []
    writer = threading.Thread(target=write)
    writer.start()
    try:
        manifest = backup.back_up(
            store,
            tmp_path / "store",
            tmp_path / "copy",
            clock=ManualClock(),
            progress=lambda done, total: seen.append((done, total)),
        )
    finally:
        stop.set()
        writer.join()
    history = store.reader.history(ORGANIZATION, "project", trace, "b" * 16)
    expected = store.select(
        "SELECT trace_id FROM spans FINAL WHERE xact_id <= {at:Int64} ORDER BY trace_id",
        {"at": manifest.applied},
    ).rows
    assert seen[-1][0] == seen[-1][1] == sum(file.size for file in manifest.files)
    assert not list((tmp_path / "store" / "engine" / "shadow").glob("backup*"))
    with pytest.raises(TraceStoreUnavailable, match="exists already"):
        backup.back_up(store, tmp_path / "store", tmp_path / "copy", clock=ManualClock())
    return manifest, expected, history


def test_a_damaged_or_foreign_backup_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with filled(tmp_path / "store") as (store, _, _):
        manifest = backup.back_up(store, tmp_path / "store", copy, clock=ManualClock())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.id").write_text("another")
    with pytest.raises(TraceStoreUnavailable, match="Another store belongs"):
        backup.restore(tmp_path / "copy", tmp_path / "other" / "store", limits=SMALL)

    file = tmp_path / "copy" / "parts" / manifest.files[0].path
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(TraceStoreUnavailable, match="is damaged"):
        backup.restore(tmp_path / "copy", tmp_path / "new" / "store", limits=SMALL)
    assert list((tmp_path / "new").iterdir()) == []

    listed = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    listed["files"][0]["path"] = "spans/../../../out"
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(listed))
    with pytest.raises(TraceStoreUnavailable, match="names files that no store has"):
        backup.restore(tmp_path / "copy", tmp_path / "new" / "store", limits=SMALL)
    with pytest.raises(TraceStoreUnavailable, match="no back-up"):
        backup.restore(tmp_path / "store", tmp_path / "new" / "store", limits=SMALL)


def test_a_copy_that_would_fill_the_disk_is_not_begun(tmp_path: Path) -> None:
    with filled(tmp_path / "store") as (store, _, _):
        with pytest.raises(StorageFull, match="does not fit"):
            backup.back_up(
                store, tmp_path / "store", tmp_path / "copy", clock=ManualClock(), reserve=2**60
            )
        assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


def test_what_a_killed_backup_froze_is_gone_after_the_next_start(tmp_path: Path) -> None:
    with filled(tmp_path / "store") as (store, _, _):
        assert is_in_use(tmp_path / "store")
        store.engine.run("ALTER TABLE `keylease`.`spans` FREEZE WITH NAME 'left'")
    shadow = tmp_path / "store" / "engine" / SHADOW
    assert any(path.is_file() for path in shadow.rglob("*"))
    assert not is_in_use(tmp_path / "store")
    with contextlib.closing(open_embedded(tmp_path / "store", limits=SMALL)) as store:
        assert not shadow.exists()
        assert store.select("SELECT count() FROM spans FINAL").rows == [(1,)]


def test_a_backup_is_moved_also_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def other_disk(source: Path, target: Path) -> Path:
        if source.parent == tmp_path and "partial" not in source.name:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(source, target)

    with filled(tmp_path / "store") as (store, _, _):
        manifest = backup.back_up(store, tmp_path / "store", tmp_path / "a", clock=ManualClock())
    moved(tmp_path / "a", tmp_path / "new" / "b")
    moved(tmp_path / "new" / "b", tmp_path / "b")
    assert manifest_of(tmp_path / "b") == manifest

    monkeypatch.setattr(Path, "rename", other_disk)
    seen: list[tuple[int, int]] = []
    moved(tmp_path / "b", tmp_path / "c", progress=lambda done, total: seen.append((done, total)))
    assert not (tmp_path / "b").exists()
    assert manifest_of(tmp_path / "c") == manifest
    assert summary_of(tmp_path / "c").size == manifest.size == seen[-1][0] == seen[-1][1]
    with pytest.raises(TraceStoreUnavailable, match="exists already"):
        moved(tmp_path / "c", tmp_path / "store")
    # What is damaged is not passed on, and stays where it was.
    file = tmp_path / "c" / backup_files.PARTS / manifest.files[0].path
    file.write_bytes(b"?" + file.read_bytes()[1:])
    with pytest.raises(TraceStoreUnavailable, match="is damaged"):
        moved(tmp_path / "c", tmp_path / "d")
    with pytest.raises(StorageError):
        moved(tmp_path / "c", tmp_path / "store.id" / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "new", "store", "store.id"]
