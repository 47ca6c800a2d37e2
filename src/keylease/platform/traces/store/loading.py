"""Loads the engine's library where it may write.

On being imported chDB opens an engine of its own, in a directory below the system's temporary one,
which a confined server cannot write to. It is told another one by the C library's environment,
which nothing else of ours reads.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

from keylease.primitives.files import make_private_directory


def load_engine(temporary: Path) -> None:
    """Import the engine; ``temporary`` is its own, and what a crash left in it is removed."""
    shutil.rmtree(temporary, ignore_errors=True)
    make_private_directory(temporary)
    os.putenv("TMPDIR", str(temporary))
    importlib.import_module("chdb")
