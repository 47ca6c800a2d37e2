"""Appends to a log again and again, killed one system call later each time.

A program of its own, because it forks: ``python -m tests.support.killed_log_writer DIRECTORY``.
Prints for each step how many entries the log had then, and after the next writer.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from tests.support.killed_writer import kill_at
from tests.support.log_kit import ORIGIN, SignedLog, entry

from keylease.primitives.transparency.checkpoints import TreeHead, sign_head
from keylease.primitives.transparency.directory import LogDirectory, LogWriter
from keylease.primitives.transparency.notes import NoteSigner
from keylease.primitives.transparency.verifier import Trust, verify_log

FIRST = 250
ADDED = 300
"""Over the end of a tile, so that full tiles, partial ones and a new level are all written."""


def reopened(path: Path, start: SignedLog) -> LogWriter:
    """A writer at what is there, as the next process would open it; everything is verified."""
    report = verify_log(LogDirectory(path), Trust(log_keys=(start.first_key,)))
    return LogWriter(path, TreeHead(ORIGIN, report.size, report.root), origin=ORIGIN)


def append(path: Path, start: SignedLog, signer: NoteSigner, count: int, mark: bytes) -> None:
    writer = reopened(path, start)
    size = writer.head.size
    head = writer.append([entry(number) + mark for number in range(size, size + count)])
    writer.publish(sign_head(head, signer))


def run(directory: Path) -> list[list[int]]:
    start = SignedLog(directory / "start")
    start.grow(FIRST)
    steps: list[list[int]] = []
    while True:
        work = directory / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start.path, work)
        child = os.fork()
        if child == 0:
            kill_at(len(steps) + 1)
            append(work, start, start.signer, ADDED, b"")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        found = reopened(work, start).head.size
        append(work, start, start.signer, 7, b" of the next writer")
        after = reopened(work, start).head.size
        leftovers = [path for path in work.rglob("*") if path.name.endswith(".new")]
        stale = len(leftovers) + len(list(work.rglob("*.p/*"))) - _partial(work, start)
        steps.append([found, after, stale])
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit("the append failed")
            return steps


def _partial(path: Path, start: SignedLog) -> int:
    """How many partial tiles the tree has: with nothing else there, nothing was left over."""
    size = reopened(path, start).head.size
    return 2 * bool(size % 256) + bool((size >> 8) % 256)


if __name__ == "__main__":
    json.dump(run(Path(sys.argv[1])), sys.stdout)
