"""Loads the engine's library where it may write, with a configuration of ours.

On being imported chDB opens an engine of its own, in a directory below the system's temporary one,
which a confined server cannot write to. It is told another one by the C library's environment,
which nothing else of ours reads.

Protects: an engine that is told no other reads ``config.xml`` in the working directory, which may
    be anybody's and can name programs to run. Ours stands where it looks, and is named to it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keylease.primitives.files import make_private_directory, replace

CONFIGURATION: Final = """<clickhouse>
  <!-- The cgroup's figures are of all processes in it. Where they cannot be read, as in a confined
       server, the engine would complain with a stack trace and go on with its own. -->
  <memory_worker_use_cgroup>0</memory_worker_use_cgroup>
</clickhouse>
"""
_NAME: Final = "config.xml"


def load_engine(temporary: Path) -> None:
    """Import the engine; ``temporary`` is its own, and what a crash left in it is removed."""
    shutil.rmtree(temporary, ignore_errors=True)
    make_private_directory(temporary)
    os.putenv("TMPDIR", str(temporary))
    configured(temporary)


def configured(directory: Path) -> Path:
    """Write the engine's configuration into a directory of ours, and import the engine with it.

    Gives the file, which whoever opens an engine names to it.
    """
    file = directory / _NAME
    replace(file, CONFIGURATION.encode())
    if "chdb" not in sys.modules:
        with _working_in(directory):  # the library itself changes it, too, for a moment
            importlib.import_module("chdb")
    return file


@contextlib.contextmanager
def _working_in(directory: Path) -> Iterator[None]:
    try:
        before = Path.cwd()
    except FileNotFoundError:
        before = Path("/")
    os.chdir(directory)
    try:
        yield
    finally:
        try:
            os.chdir(before)
        except OSError:  # who gave up being root may not enter where root was
            os.chdir("/")
