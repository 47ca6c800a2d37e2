"""Runs an action of the sealed store again and again, killed one system call later each time.

A program of its own, because it forks: ``python -m tests.support.killed_writer ACTION DIRECTORY``.
Prints for each step what the store that was left behind says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.manual_clock import ManualClock
from tests.support.store_tools import key_file, sealed_store

from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.sealed import SealedStore

CALLS: Final = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "fsync",
    "fchmod",
    "fchown",
    "link",
    "replace",
    "rename",
    "unlink",
    "mkdir",
)
_PARTIAL: Final = {"write", "pwrite"}


def kill_at(step: int) -> None:
    """Make the ``step``-th of these calls the last thing this process does, or half does."""
    left = [step]

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - any call of os
            left[0] -= 1
            if left[0] == 0:
                if name in _PARTIAL:
                    descriptor, data, *rest = arguments
                    real(descriptor, bytes(data)[: len(data) // 2], *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))


ACTIONS: Final[dict[str, Callable[[SealedStore, Path], object]]] = {
    "first": lambda store, _: store.put("new", Secret("new-value"), provider="", hosts=()),
    "put": lambda store, _: store.put("new", Secret("new-value"), provider="", hosts=()),
    "replace": lambda store, _: store.put(
        "old", Secret("replaced"), provider="", hosts=(), replace=True
    ),
    "remove": lambda store, _: store.remove("old"),
    "rekey": lambda store, directory: store.rekey(key_file(directory)),
}


def content(directory: Path) -> dict[str, str]:
    store = sealed_store(directory, ManualClock())
    return {
        info.name: store.get(info.name).secret.reveal(why="a test compares it").decode()
        for info in store.entries()
    }


def run(action: str, directory: Path) -> list[dict[str, Any]]:
    start = directory / "start"
    start.mkdir()
    if action != "first":
        sealed_store(start, ManualClock()).put("old", Secret("value"), provider="", hosts=())
    steps: list[dict[str, Any]] = []
    while True:
        work = directory / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start, work)
        child = os.fork()
        if child == 0:
            kill_at(len(steps) + 1)
            ACTIONS[action](sealed_store(work, ManualClock()), work)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        found: dict[str, Any] = {"after_kill": content(work)}
        # The next writer works on what was left, and leaves nothing of it lying about.
        sealed_store(work, ManualClock()).put("next", Secret("x"), provider="", hosts=())
        found["after_next"] = content(work)
        found["leftovers"] = [
            str(path.relative_to(work))
            for path in work.rglob("*")
            if ".tmp-" in path.name and path.parent.name == "strongroom"
        ]
        steps.append(found)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit("the action failed")
            return steps


if __name__ == "__main__":
    json.dump(run(sys.argv[1], Path(sys.argv[2])), sys.stdout)
