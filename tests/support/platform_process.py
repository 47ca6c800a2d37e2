"""The platform as a real process, on a free port, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.support.home_databases import told_of

from keylease.platform.server.configuration import ServerConfiguration, ServerReady

START_SECONDS = 60


class RunningPlatform:
    """A server that answers."""

    def __init__(self, process: subprocess.Popen[bytes], ready: ServerReady, data: Path) -> None:
        self.process = process
        self.ready = ready
        self.data = data
        self.url = ready.url

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)


@contextmanager
def running_platform(
    data: Path,
    *,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    **members: object,
) -> Iterator[RunningPlatform]:
    """Start a server on ``data``; ``members`` are of its configuration. Stops it at the end.

    ``environment`` is added to this process's own; ``log`` takes what the server says.
    """
    read, write = os.pipe()
    configuration = ServerConfiguration(
        data_directory=str(data), ready=write, **{"port": 0, **told_of(data), **members}  # type: ignore[arg-type]  # a test's own members
    )  # fmt: skip
    document = msgspec.json.encode(configuration).decode()
    with contextlib.ExitStack() as opened:
        said = opened.enter_context(log.open("wb")) if log is not None else None
        process = subprocess.Popen(
            [sys.executable, "-m", "keylease.platform", document],
            pass_fds=[write],
            env={**os.environ, **(environment or {})},
            stdout=said,
            stderr=said,
        )
    os.close(write)
    try:
        with os.fdopen(read, "rb") as answer:
            line = answer.readline()  # ends when the process does
        assert line, f"the platform ended with {process.wait(timeout=30)}"
        yield RunningPlatform(process, msgspec.json.decode(line, type=ServerReady), data)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
