"""The engine takes no configuration but ours, and does not complain when it is confined."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from keylease.platform.traces.store.loading import load_engine
from keylease.primitives.confinement.interpreter import interpreter_needs
from keylease.primitives.confinement.landlock import Confinement, confine

directory, needs = Path(sys.argv[1]), interpreter_needs()
confine(
    Confinement(
        readable=(*needs.readable, "/proc/self"),
        executable=needs.executable,
        writable=(*needs.writable, str(directory)),
        ports=(),
    )
)
load_engine(directory / "temporary")
from keylease.platform.traces.store.store import open_embedded
store = open_embedded(directory / "store")
print(store.select("SELECT count() FROM spans").rows, Path.cwd() == directory)
store.close()
"""


def test_a_configuration_where_it_was_started_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text("<clickhouse><this is none")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("[(0,)] True\n", "")


GONE = """
import os, sys
from pathlib import Path
from keylease.platform.traces.store.loading import load_engine

os.rmdir(os.getcwd())
load_engine(Path(sys.argv[1]) / "temporary")
print(Path.cwd())
"""


def test_it_is_loaded_also_where_nobody_can_go_back(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", GONE, str(tmp_path)],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("/\n", "")
