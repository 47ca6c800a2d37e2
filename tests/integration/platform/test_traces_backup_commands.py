"""`keylease traces backup` and `restore`, in processes of their own as people run them."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

FILLED = """
import sys
from pathlib import Path
from keylease.platform.traces.store.columns import spans_table
from keylease.platform.traces.store.store import open_embedded
from tests.support.trace_kit import NOW, plainly, raw_span

store = open_embedded(Path(sys.argv[1]))
row = plainly(
    raw_span(),
    organization_id="o",
    project_id="p",
    source="otlp",
    xact_id=NOW * 1000,
    received_at=NOW,
).span
store.engine.insert(store.layout.table("spans"), spans_table([row]))
store.close()
"""


def keylease(*arguments: str, data: Path) -> tuple[int, str]:
    line = [sys.executable, "-m", "keylease", "traces", *arguments, "--data-dir", str(data)]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ran.stdout == ""
    return ran.returncode, ran.stderr


def test_a_store_is_copied_and_made_again(tmp_path: Path) -> None:
    data, copy, other = tmp_path / "data", tmp_path / "copy", tmp_path / "other"
    place = data / "platform" / "traces" / "store"
    status, said = keylease("backup", str(copy), data=data)
    assert (status, "There is no trace store" in said) == (64, True), said
    place.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", FILLED, str(place)], check=True)

    with (place / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status, said = keylease("backup", str(copy), data=data)
    assert (status, "Stop the server" in said, copy.exists()) == (1, True, False), said

    status, said = keylease("backup", str(copy), data=data)
    assert (status, "are copied" in said) == (0, True), said
    status, said = keylease("restore", str(copy), data=other)
    assert (status, "The store is restored" in said) == (0, True), said
    rows = other / "platform" / "traces" / "store" / "engine"
    assert any(path.name == "count.txt" for path in rows.rglob("*"))
    status, said = keylease("restore", str(copy), data=other)
    assert (status, "is not empty" in said) == (1, True), said
