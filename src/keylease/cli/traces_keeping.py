"""`keylease traces export|backup|restore|store`: spans as files, and the store itself.

A back-up is made of an embedded store on the server's own machine, while the server is stopped: one
process owns the store. As root these commands become the user whose store it is, so that the server
can open it afterwards.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from keylease.cli import output
from keylease.cli.inventory_words import moment_of
from keylease.cli.options import ApiKeyFile, ConfigDir, DataDir, Server, settings_from
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import Project, Since, Until, base
from keylease.errors import SettingsInvalid, TraceStoreInUse, TraceStoreUnavailable
from keylease.primitives.clock import SystemClock
from keylease.primitives.files import explained, sync, sync_directory

_EVERY: Final = 0.2
"""Seconds between two words about progress."""
_MEGABYTE: Final = 1_000_000
_STDOUT: Final = Path("-")
_OWNER_ONLY: Final = 0o600
Copy = Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where the back-up lies.")]


class _Meter:
    """One line on a terminal that says how far it is."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = now()
        self._shown = False
        self._on = sys.stderr.isatty()

    def show(self, done: int, total: int = 0) -> None:
        """Bytes that are done, and bytes in all where that is known."""
        now = self._now()
        if not self._on or now - self._last < _EVERY:
            return
        self._last, self._shown = now, True
        of = f" of {total // _MEGABYTE}" if total else ""
        sys.stderr.write(f"\r\x1b[K{done // _MEGABYTE}{of} MB")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


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
    meter, size = _Meter(), 0
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


def backup(directory: Copy, *, data_dir: DataDir = None, config_dir: ConfigDir = None) -> None:
    """Copy the trace store of this machine, while the server is stopped.

    What is removed afterwards stays in the copy: whoever removes for good removes old copies too.
    """
    place, target = _place(data_dir, config_dir), directory.absolute()
    if not place.is_dir():
        raise SettingsInvalid(
            f"There is no trace store in {place}.",
            advice="Name the data directory of the server with --data-dir.",
        )
    with _stopped(), _engine_of(place):
        from keylease.platform.traces.store.backup import back_up  # noqa: PLC0415 - 100 MB
        from keylease.platform.traces.store.store import open_embedded  # noqa: PLC0415 - as above

        meter, store = _Meter(), open_embedded(place)
        try:
            manifest = back_up(store, place, target, clock=SystemClock(), progress=meter.show)
        finally:
            meter.clear()
            store.close()
    size = sum(file.size for file in manifest.files)
    output.say(f"{size / _MEGABYTE:.1f} MB up to transaction {manifest.applied} are copied.")


def restore(directory: Copy, *, data_dir: DataDir = None, config_dir: ConfigDir = None) -> None:
    """Make the trace store of this machine from a back-up, while the server is stopped.

    There must be no store yet. Each file is checked before it is used.
    """
    place, source = _place(data_dir, config_dir), directory.absolute()
    with _stopped(), _engine_of(place):
        from keylease.platform.traces.store import backup as backups  # noqa: PLC0415 - 100 MB

        meter = _Meter()
        try:
            manifest = backups.restore(source, place, progress=meter.show)
        finally:
            meter.clear()
    output.say(f"The store is restored as it was at transaction {manifest.applied}.")


def _place(data_dir: Path | None, config_dir: Path | None) -> Path:
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    return settings.platform_dir.absolute() / "traces" / "store"


@contextlib.contextmanager
def _stopped() -> Iterator[None]:
    try:
        yield
    except TraceStoreInUse as error:
        raise TraceStoreUnavailable(
            "The server is running, and the store is its own.",
            advice="Stop the server for so long; spans that are sent meanwhile are sent again.",
        ) from error


@contextlib.contextmanager
def _engine_of(place: Path) -> Iterator[None]:
    """Load the engine as the user whose store it is; needs ``keylease[server]``."""
    _become_owner_of(place)
    with tempfile.TemporaryDirectory(prefix="keylease-engine-") as temporary:
        try:
            from keylease.platform.traces.store.loading import load_engine  # noqa: PLC0415 - large

            load_engine(Path(temporary) / "engine")
        except ModuleNotFoundError as error:
            raise SettingsInvalid(
                "The engine of the trace store is not installed here.",
                advice="Install keylease[server].",
            ) from error
        yield


def _become_owner_of(place: Path) -> None:
    """Give up being root; files of another owner would keep the server from its own store."""
    if os.geteuid() != 0:
        return
    existing = next(path for path in (place, *place.parents) if path.exists())
    owner = existing.stat()
    if owner.st_uid == 0:
        return
    os.setgroups([])
    os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)


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
