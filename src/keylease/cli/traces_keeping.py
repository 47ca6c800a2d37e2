"""`keylease traces export|store`: spans as a file, and how the store is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from keylease.cli import output
from keylease.cli.inventory_words import moment_of
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import Project, Since, Until, base
from keylease.cli.traces_meter import Meter
from keylease.primitives.clock import SystemClock
from keylease.primitives.files import explained, sync, sync_directory

_MEGABYTE: Final = 1_000_000
_STDOUT: Final = Path("-")
_OWNER_ONLY: Final = 0o600


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The Parquet file to write; - for stdout.")
    ],
    *,
    since: Since = "",
    until: Until = "",
    project: Project = "",
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Write a project's spans to a Parquet file, large texts included. The export is logged."""
    now = SystemClock().now()
    query = {
        "since": moment_of(since, now=now) if since else None,
        "until": moment_of(until, now=now) if until else None,
    }
    with connected(server, api_key_file) as api:
        path = f"{base(api, project)}/trace-export"
        with contextlib.closing(api.stream(path, query=query)) as pieces:
            if file == _STDOUT:
                sys.stdout.flush()
                size = _written(pieces, sys.stdout.buffer)
            else:
                with _appearing(file) as target:
                    size = _written(pieces, target)
    written = f"{size / _MEGABYTE:.1f} MB" if size >= _MEGABYTE else f"{size:,} bytes"
    output.say(f"{written} are written.")


def _written(pieces: Iterable[bytes], target: IO[bytes]) -> int:
    meter, size = Meter(), 0
    try:
        for piece in pieces:
            target.write(piece)
            size += len(piece)
            meter.show(size)
        target.flush()
    finally:
        meter.clear()
    return size


@contextlib.contextmanager
def _appearing(file: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is whole; what a failure leaves is removed.

    What is there and is no file (a pipe, a device) is written into, and stays what it is.
    """
    if file.exists() and not file.is_file():
        try:
            with file.open("wb") as target:
                yield target
        except OSError as error:
            raise explained(error, file) from None
        return
    partial = file.with_name(f"{file.name}.partial-{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        try:
            with os.fdopen(descriptor, "wb") as target:
                yield target
            sync(partial)
            partial.rename(file)
            sync_directory(file.absolute().parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise explained(error, file) from None


def store(*, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Say how the server's trace store is, and which batches it could not take."""
    with connected(server, api_key_file) as api:
        state = api.ask("GET", "/v1/trace-store").body
        aside = api.ask("GET", "/v1/trace-store/set-aside").body["items"]
    if as_json:
        output.emit_json({**state, "set_aside": aside})
        return
    output.emit_table(
        ("MEMBER", "VALUE"), [(name, value) for name, value in state.items() if value]
    )
    for batch in aside:
        output.warn(f"set aside: {output.json_text(batch, indent=0)}")
