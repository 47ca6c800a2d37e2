"""`keylease traces backup|backups|restore`: copies of the embedded store.

One process owns the store. While a server has it open, the server is asked for the back-up and
makes it in a directory of its own, from which this command takes it where it is wanted; otherwise
this command opens the store itself. As root these commands become the user whose store it is, so
that the server can open afterwards what is there.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keylease.cli import output
from keylease.cli.options import ApiKeyFile, ConfigDir, DataDir, Server, settings_from
from keylease.cli.platform_connection import PlatformConnection, connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import part
from keylease.cli.traces_meter import Meter
from keylease.cli.traces_words import began
from keylease.errors import (
    ServerUnreachable,
    SettingsInvalid,
    StorageError,
    TraceStoreInUse,
    TraceStoreUnavailable,
)
from keylease.primitives.clock import SystemClock

BACKUPS: Final = "/v1/trace-store/backups"
_MEGABYTE: Final = 1_000_000
_ASK_SECONDS: Final = 0.5
_UNDER_WAY: Final = frozenset({"waiting", "copying"})
Copy = Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where the back-up lies.")]
Target = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIRECTORY]",
        help="What to make, on this machine; by default it stays where the server makes it.",
        show_default=False,
    ),
]


def backup(
    directory: Target = None,
    *,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Copy the trace store, also while the server runs and takes spans.

    A running server is asked for it, which takes a sign-in or an API key with trace:manage.
    What is removed afterwards stays in the copy: whoever removes for good removes old copies too.
    """
    from keylease.platform.traces.store.place import is_in_use  # noqa: PLC0415 - the platform's

    if directory is None:
        made = _made_by_server(server, api_key_file)
        output.say(f"{_said(made['total_bytes'], made['applied'])} are copied.")
        output.emit(made["place"])
        return
    place, target = _place(data_dir, config_dir), directory.absolute()
    if not place.is_dir():
        raise SettingsInvalid(
            f"There is no trace store in {place}.",
            advice="Name the data directory of the server with --data-dir. Without DIRECTORY the "
            "server is asked to make the copy on its own machine.",
        )
    if target.exists():
        raise TraceStoreUnavailable(
            f"{target} exists already.", advice="Name a directory that does not exist yet."
        )
    if is_in_use(place):
        _taken_from_server(place, target, _made_by_server(server, api_key_file))
    else:
        _made_here(place, target)


def _made_here(place: Path, target: Path) -> None:
    with _stopped(), _engine_of(place):
        from keylease.platform.traces.store.backup import back_up  # noqa: PLC0415 - 100 MB
        from keylease.platform.traces.store.store import open_embedded  # noqa: PLC0415 - as above

        meter, store = Meter(), open_embedded(place)
        try:
            manifest = back_up(store, place, target, clock=SystemClock(), progress=meter.show)
        finally:
            meter.clear()
            store.close()
    output.say(f"{_said(manifest.size, manifest.applied)} are copied.")


def _made_by_server(server: str, api_key_file: Path | None) -> dict[str, Any]:
    """Ask for a back-up, and wait for it. Raises why there is none."""
    with connected(server, api_key_file) as api:
        try:
            made: dict[str, Any] = api.ask("POST", BACKUPS).body
        except ServerUnreachable as error:
            raise TraceStoreUnavailable(
                f"The store is in use, and no server answers that could copy it: {error.message}",
                advice="Name the server with --server, or stop the process that has it open.",
            ) from error
        return _waited_for(api, made)


def _waited_for(api: PlatformConnection, made: dict[str, Any]) -> dict[str, Any]:
    meter = Meter()
    try:
        while made["state"] in _UNDER_WAY:
            meter.show(made["done_bytes"], made["total_bytes"])
            time.sleep(_ASK_SECONDS)
            made = api.ask("GET", f"{BACKUPS}/{part(made['id'])}").body
    finally:
        meter.clear()
    if made["state"] != "done":
        raise TraceStoreUnavailable(
            f"The server made no back-up: {made['message']}", advice="Its log says more."
        )
    return made


def _taken_from_server(place: Path, target: Path, made: dict[str, Any]) -> None:
    """Give a back-up of the server the place that is wanted."""
    from keylease.platform.traces.store.backup_files import moved  # noqa: PLC0415 - the platform's

    source = place.parent / "backups" / Path(made["place"]).name
    if not source.is_dir() or source.resolve() != Path(made["place"]).resolve():
        raise SettingsInvalid(
            f"The back-up is made, and lies in {made['place']} on the server's machine.",
            advice="It was asked for at another server than the one whose data is here; see "
            "--server and --data-dir.",
        )
    _become_owner_of(place)
    meter = Meter()
    try:
        moved(source, target, progress=meter.show)
    except StorageError as error:
        raise StorageError(
            f"The back-up is made, and stays in {source}: {error.message}",
            advice="Copy it from there, or name a place that the server's user may write.",
        ) from error
    finally:
        meter.clear()
    output.say(f"{_said(made['total_bytes'], made['applied'])} are copied.")


def backups(
    *,
    remove: Annotated[
        str,
        typer.Option("--remove", metavar="ID", help="Remove this one.", show_default=False),
    ] = "",
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List the back-ups that lie on the server's machine, or remove one."""
    with connected(server, api_key_file) as api:
        if remove:
            api.ask("DELETE", f"{BACKUPS}/{part(remove)}")
            output.say("The back-up is removed.")
            return
        items = api.ask("GET", BACKUPS).body["items"]
    if as_json:
        output.emit_json(items)
        return
    rows = [
        (
            item["id"],
            began(item["taken_at"]) if item["taken_at"] else None,
            item["state"],
            f"{item['done_bytes'] / _MEGABYTE:.1f}",
            item["message"] or item["place"],
        )
        for item in items
    ]
    output.emit_table(("ID", "OF", "STATE", "MB", "WHERE"), rows)
    if not rows:
        output.say("There is none.")


def restore(directory: Copy, *, data_dir: DataDir = None, config_dir: ConfigDir = None) -> None:
    """Make the trace store of this machine from a back-up, while the server is stopped.

    There must be no store yet. Each file is checked before it is used.
    """
    place, source = _place(data_dir, config_dir), directory.absolute()
    with _stopped(), _engine_of(place):
        from keylease.platform.traces.store import backup as copies  # noqa: PLC0415 - 100 MB

        meter = Meter()
        try:
            manifest = copies.restore(source, place, progress=meter.show)
        finally:
            meter.clear()
    output.say(f"The store is restored as it was at transaction {manifest.applied}.")


def _said(size: int, applied: object) -> str:
    return f"{size / _MEGABYTE:.1f} MB up to transaction {applied}"


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
