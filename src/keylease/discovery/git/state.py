"""What a scan of a repository's history leaves for the next one: names of objects, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from keylease.primitives import files

STATE_FORMAT: Final = 1
_MAXIMUM_BYTES: Final = 64 * 1024 * 1024


class HistoryState(msgspec.Struct, frozen=True, kw_only=True):
    """After a scan of a history that ran to its end."""

    format: int = STATE_FORMAT
    detectors: str
    """Which detectors looked; others look at everything again."""
    tips: tuple[str, ...]
    """What the references pointed at."""
    carriers: tuple[str, ...]
    """The objects in which something was found."""


def read_state(folder: Path, identity: str, *, detectors: str) -> HistoryState | None:
    """The state of a repository; None when there is none that is of use."""
    try:
        content = files.read_bounded(_path(folder, identity), maximum=_MAXIMUM_BYTES)
        state = msgspec.json.decode(content, type=HistoryState)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None  # a first scan, or a damaged file: everything is looked at
    if state.format != STATE_FORMAT or state.detectors != detectors:
        return None
    return state


def write_state(folder: Path, identity: str, state: HistoryState) -> None:
    """Keep a state for the next scan. Raises ``StorageError``."""
    files.make_private_directory(folder)
    files.replace(_path(folder, identity), msgspec.json.encode(state))


def _path(folder: Path, identity: str) -> Path:
    return folder / f"history-{identity}.json"
