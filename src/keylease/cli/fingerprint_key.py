"""`keylease fingerprint-key`: the organization's key that fingerprints are made with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from keylease.cli import output
from keylease.errors import FingerprintKeyInvalid
from keylease.primitives import files
from keylease.primitives.fingerprints import FingerprintKeys, key_file, new_keys, read_keys

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Make and rotate the key that fingerprints are made with.",
)
KeyFile = Annotated[Path, typer.Argument(metavar="FILE", help="Where the key lies; mode 0600.")]


@app.command()
def create(
    file: KeyFile,
    key_id: Annotated[
        str,
        typer.Option(
            "--id", metavar="NAME", help="What the organization calls it.", show_default=False
        ),
    ] = "",
) -> None:
    """Make a key. Scans with the same key give the same secret the same fingerprint."""
    keys = new_keys(key_id)
    if not files.create(file, key_file(keys)):
        raise FingerprintKeyInvalid(
            f"There is a file at {file} already.", advice="`rotate` puts a new version in front."
        )
    output.say(f"Made fingerprint key {keys.current}. Give it to scanners, and to nobody else.")


@app.command()
def rotate(file: KeyFile) -> None:
    """Put a new version in front and keep the one before: reports then have both fingerprints."""
    keys = _read(file).rotated()
    _replace(file, keys)
    output.say(
        f"Fingerprints are now made with {keys.current} and, beside it, {keys.previous}. "
        "When everything has been scanned again, `finish` drops the old one."
    )
    output.hint("A server that masks spans with it takes it up at its next start.")


@app.command()
def finish(file: KeyFile) -> None:
    """End a rotation: drop the old version."""
    keys = _read(file)
    if keys.previous is None:
        raise FingerprintKeyInvalid(f"The key in {file} is not being rotated.")
    _replace(file, keys.without_previous())
    output.say(f"Fingerprints are made with {keys.current} alone.")


@app.command()
def show(file: KeyFile) -> None:
    """Show which key it is, never the key."""
    keys = _read(file)
    rows = [("current", keys.current.id, keys.current.version)]
    if keys.previous is not None:
        rows.append(("previous", keys.previous.id, keys.previous.version))
    output.emit_table(("USE", "ID", "VERSION"), rows)


def _replace(file: Path, keys: FingerprintKeys) -> None:
    """Write it anew, for whom it was readable: root rotates what the gateway's user reads."""
    before = file.stat()
    files.replace(file, key_file(keys))
    if os.geteuid() == 0:
        os.chown(file, before.st_uid, before.st_gid)


def _read(file: Path) -> FingerprintKeys:
    try:
        return read_keys(file)
    except FileNotFoundError:
        raise FingerprintKeyInvalid(
            f"There is no fingerprint key at {file}.", advice="`create` makes one."
        ) from None
