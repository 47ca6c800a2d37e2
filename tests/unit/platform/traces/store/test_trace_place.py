"""The directory of a store: what is refused when it is opened, and with which words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.trace_stores import SMALL, Writes, a_span, applied, new_id

from keylease.errors import TraceStoreInUse, TraceStoreTooNew, TraceStoreUnavailable
from keylease.platform.traces.store.place import Place
from keylease.platform.traces.store.store import open_embedded


def made(directory: Path) -> None:
    """A place as a store leaves it, without an engine."""
    place = Place(directory)
    place.open()
    (place.engine / "data").mkdir()
    place.made()
    place.close()


def test_a_new_place_becomes_a_known_one_when_its_tables_are_made(tmp_path: Path) -> None:
    place = Place(tmp_path / "store")
    place.open()
    assert place.is_new
    assert not (tmp_path / "store.id").exists()
    place.made()
    place.close()
    assert (tmp_path / "store.id").read_text() == place.store_id


def test_a_making_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    first = Place(tmp_path / "store")
    first.open()
    (first.engine / "half").write_bytes(b"made")
    first.close()  # as when the process is killed
    again = Place(tmp_path / "store")
    again.open()
    assert again.is_new
    assert not list(again.engine.iterdir())
    (again.engine / "data").mkdir()
    again.made()
    again.close()
    # From here on there is something to lose.
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        *("engine", "format", "incoming", "lock")
    ]
    (tmp_path / "store.id").unlink()
    (tmp_path / "store" / "format").unlink()
    with pytest.raises(TraceStoreUnavailable, match="without its file"):
        Place(tmp_path / "store").open()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "store")
    place = Place(tmp_path / "store")
    place.open()
    program = (
        "import sys; from pathlib import Path\n"
        "from keylease.errors import TraceStoreInUse\n"
        "from keylease.platform.traces.store.place import Place\n"
        "try: Place(Path(sys.argv[1])).open()\n"
        "except TraceStoreInUse as error: print(error.code)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store")],
        capture_output=True,
        check=True,
        text=True,
    )
    assert said.stdout.strip() == "trace_store_in_use"
    with pytest.raises(TraceStoreInUse, match="Another process"):
        Place(tmp_path / "store").open()
    place.close()
    made_again = Place(tmp_path / "store")
    made_again.open()
    made_again.close()


def test_a_deleted_store_is_never_replaced_in_silence(tmp_path: Path) -> None:
    made(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(TraceStoreUnavailable, match="is gone") as refused:
        Place(tmp_path / "store").open()
    assert "keylease traces restore" in refused.value.advice
    (tmp_path / "store").mkdir()
    with pytest.raises(TraceStoreUnavailable, match="is gone"):
        Place(tmp_path / "store").open()


def test_what_is_lost_or_strange_is_named(tmp_path: Path) -> None:
    for name in ("data", "marker", "other", "damaged"):
        made(tmp_path / name / "store")
    shutil.rmtree(tmp_path / "data" / "store" / "engine" / "data")
    with pytest.raises(TraceStoreUnavailable, match="lost its data"):
        Place(tmp_path / "data" / "store").open()
    (tmp_path / "marker" / "store.id").unlink()
    (tmp_path / "marker" / "store" / "format").unlink()
    with pytest.raises(TraceStoreUnavailable, match="without its file `format`"):
        Place(tmp_path / "marker" / "store").open()
    (tmp_path / "other" / "store.id").write_text("another")
    with pytest.raises(TraceStoreUnavailable, match="another trace store"):
        Place(tmp_path / "other" / "store").open()
    (tmp_path / "damaged" / "store" / "format").write_bytes(b"{")
    with pytest.raises(TraceStoreUnavailable, match="is damaged"):
        Place(tmp_path / "damaged" / "store").open()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "store")
    (tmp_path / "store" / "format").write_text('{"format": 2, "store_id": "x"}')
    with pytest.raises(TraceStoreTooNew, match="format 2; this program knows 1"):
        Place(tmp_path / "store").open()


def test_a_store_is_there_again_after_a_restart_and_damage_to_it_is_refused(
    tmp_path: Path,
) -> None:
    trace = new_id()
    store = open_embedded(tmp_path / "store", limits=SMALL)
    batch = Writes(1_790_000_000_000_000_007).put(a_span(trace_id=trace))
    store.apply(*applied(batch))
    store_id = store.store_id
    store.close()

    store = open_embedded(tmp_path / "store", limits=SMALL)
    assert (store.store_id, store.applied()) == (store_id, batch.xact_id)
    parts = store.select("SELECT path FROM system.parts WHERE active AND table = 'spans'").rows
    store.close()

    for path in parts:
        for file in Path(str(path[0])).iterdir():
            if file.is_file():
                file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(TraceStoreUnavailable, match=r"cannot be opened|are damaged") as refused:
        open_embedded(tmp_path / "store", limits=SMALL)
    assert "back-up" in str(refused.value)


def test_one_process_has_one_store(tmp_path: Path) -> None:
    first = open_embedded(tmp_path / "first", limits=SMALL)
    try:
        with pytest.raises(TraceStoreInUse, match="another trace store open"):
            open_embedded(tmp_path / "second", limits=SMALL)
    finally:
        first.close()
    open_embedded(tmp_path / "second", limits=SMALL).close()
