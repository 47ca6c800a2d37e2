"""What holds for every test.

Results of the promises are written into a file that the trust report can show.
Tests that repeat lines many times are not measured for coverage. Where memory has room, temporary
files lie in it. Clients of tests read one certificate authority, not all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import certifi
import pytest
from tests.support.long_first import long_first
from tests.support.promise_results import PromiseResults

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PROMISES = ROOT / "build" / "promises.json"
"""Shown by the trust report of a server that is started with KEYLEASE_PROMISES_FILE."""
MEMORY = "/dev/shm"  # noqa: S108 - pytest makes a private directory in it
ENOUGH = 4 * 1024**3
"""Bytes; a run of everything leaves a small part of it."""


def interrupts_are_heard() -> None:
    """Undo what a shell does to a job in its background: children inherit an ignored SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def commit() -> str:
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 - git of the developer
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or "unknown"


def keep_files_in_memory() -> None:
    """Much of what is tested waits for the disk (fsync), thousands of times in a run.

    No test takes the power away, so none needs a disk; PYTEST_DEBUG_TEMPROOT=/tmp gives one.
    """
    try:
        room = os.statvfs(MEMORY)
    except OSError:
        return  # not Linux
    if room.f_bavail * room.f_frsize >= ENOUGH and not room.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


def trust_one_authority(config: pytest.Config) -> None:
    """Each ``httpx.get`` reads every public certificate authority, for 20 ms of a processor.

    No test reaches a public server, so one of them is enough for clients in this process. What is
    tested with certificates names its own.
    """
    bundle, end = Path(certifi.where()).read_text(), "-----END CERTIFICATE-----\n"
    one = bundle[bundle.index("-----BEGIN") : bundle.index(end) + len(end)]
    directory = tempfile.TemporaryDirectory()
    config.add_cleanup(directory.cleanup)
    file = Path(directory.name, "one-authority.pem")
    file.write_text(one)
    patch = pytest.MonkeyPatch()
    patch.setattr(certifi, "where", lambda: str(file))
    config.add_cleanup(patch.undo)


def pytest_configure(config: pytest.Config) -> None:
    interrupts_are_heard()
    trust_one_authority(config)
    if not hasattr(config, "workerinput"):
        keep_files_in_memory()
        results = PromiseResults(TESTS / "promises", PROMISES, commit=commit)
        config.pluginmanager.register(results, "promise-results")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        items[:] = long_first(items, processes=worker["workercount"], takes_long=_takes_long)
    _leave_out_of_coverage(items)


def _takes_long(path: Path) -> bool:
    """Whether a file starts processes, in most of its tests."""
    return any(path.is_relative_to(TESTS / kind) for kind in ("integration", "promises"))


def _leave_out_of_coverage(items: list[pytest.Item]) -> None:
    """Leave out of coverage what runs the same lines again, and again.

    Measuring makes Python code take 1.7 times as long (CPython 3.11). A test on PostgreSQL has its
    twin on SQLite, and generated cases are many rounds through what examples have shown. What a
    platform does in tests of whole ones, tests of its parts have shown. Tests that give one loop
    more and more to do (twenty times as long) carry the mark themselves.
    """
    for item in items:
        if _on_postgresql(item) or _is_generated(item) or _has_whole_platforms(item):
            item.add_marker(pytest.mark.no_cover)


def _on_postgresql(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return False
    # By type first: a parameter may be a secret, which refuses to be compared.
    return any(
        isinstance(value, str) and value == "postgresql" for value in callspec.params.values()
    )


def _is_generated(item: pytest.Item) -> bool:
    return getattr(getattr(item, "obj", None), "is_hypothesis_test", False)


def _has_whole_platforms(item: pytest.Item) -> bool:
    return item.path.is_relative_to(TESTS / "integration" / "platform")
