"""`keylease audit`: read the audit log, and check it without believing whoever keeps it."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from keylease import detectors
from keylease.cli import output
from keylease.cli.platform_connection import (
    ApiKeyFile,
    PlatformConnection,
    Server,
    connected,
)
from keylease.errors import ApiProblem, LogFaulty, SettingsInvalid
from keylease.primitives.clock import isoformat
from keylease.primitives.files import read_bounded
from keylease.primitives.transparency.checkpoints import unverified_head
from keylease.primitives.transparency.directory import CHECKPOINT, LogDirectory
from keylease.primitives.transparency.export import LONGEST_LINE, verify_export
from keylease.primitives.transparency.log_keys import resolve_keys
from keylease.primitives.transparency.merkle import leaf_hash
from keylease.primitives.transparency.notes import MAXIMUM_NOTE, NoteKey
from keylease.primitives.transparency.proofs import check_inclusion
from keylease.primitives.transparency.verifier import (
    CONTENT_STEP,
    Report,
    Trust,
    verify_log,
)

TAIL_NOT_PROVEN_STATUS: Final = 3
_NOT_FOUND: Final = 404
_HEADINGS: Final = ("INDEX", "TIME", "ACTION", "PRINCIPAL", "OBJECT", "REASON")
app: Final = typer.Typer(
    help="Read the audit log, and verify it offline.", no_args_is_help=True, add_completion=False
)
Keys = Annotated[
    list[str],
    typer.Option(
        "--key",
        metavar="KEY|FILE",
        help="The log's public key, or a file of them. Not from the log itself.",
        show_default=False,
    ),
]
Witnesses = Annotated[
    list[str],
    typer.Option(
        "--witness",
        metavar="KEY|FILE",
        help="A witness's public key, or a file of them.",
        show_default=False,
    ),
]
Checkpoints = Annotated[
    list[Path],
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="A checkpoint from elsewhere: a witness's, or one that you kept.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@app.command()
def verify(
    log: Annotated[
        str,
        typer.Argument(
            metavar="URL|DIRECTORY|FILE",
            help="A server, a log's directory, or an export (- for stdin).",
        ),
    ],
    *,
    key: Keys,
    witness: Witnesses = [],  # noqa: B006 - typer makes a new list
    checkpoint: Checkpoints = [],  # noqa: B006 - as above
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Also look for secrets in every entry.")
    ] = False,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> int:
    """Check a log offline: every entry, every hash, every signature.

    Exit status 0: everything holds, up to a checkpoint from elsewhere. 3: everything holds, and
    nothing from elsewhere covers the tail. 1: there is a fault, and its place is said.
    """
    trust = Trust(
        log_keys=tuple(_keys(key)),
        witness_keys=tuple(_keys(witness)),
        outside=tuple(_small_file(path) for path in checkpoint),
    )
    search = _SecretSearch() if secrets else None
    report = _verified(log, trust, search, api_key_file)
    if as_json:
        output.emit_json(_as_json(report))
    else:
        _show(report, trust)
    if search is not None:
        output.say("No entry contains what looks like a secret.")
    return 0 if report.outside_size is not None else TAIL_NOT_PROVEN_STATUS


@app.command("list")
def list_entries(  # noqa: PLR0913 - one parameter per option of the command
    *,
    action: Annotated[str, typer.Option(help="An action, or a resource with .*")] = "",
    principal: Annotated[str, typer.Option(help="KIND:ID")] = "",
    subject: Annotated[
        str, typer.Option("--object", help="What it was done to, by its identifier.")
    ] = "",
    reason: Annotated[str, typer.Option(help="A stable code.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List what was done, the newest first."""
    with connected(server, api_key_file) as found:
        query = {"action": action, "principal": principal, "object": subject, "reason": reason}
        page = found.ask("GET", "/v1/audit/entries", query={**query, "limit": limit}).body
    if as_json:
        for item in page["items"]:
            output.emit_json(item, indent=0)
    else:
        output.emit_table(_HEADINGS, [_row(item) for item in page["items"]])
        if not page["items"]:
            output.say("No entry matches.")


@app.command()
def show(
    index: Annotated[int, typer.Argument(min=0, help="The entry's place in the log.")],
    *,
    key: Keys = [],  # noqa: B006 - typer makes a new list
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show one entry; with --key, check its inclusion proof."""
    with connected(server, api_key_file) as found:
        entry = found.ask("GET", f"/v1/audit/entries/{index}").body
        if key:
            _check_proof(index, found, _keys(key))
    output.emit_json(entry)
    output.say("Its inclusion proof holds." if key else "Not verified: no --key was given.")


@app.command()
def export(
    to: Annotated[str, typer.Argument(metavar="FILE", help="Where to write (- for stdout).")] = "-",
    *,
    action: Annotated[str, typer.Option(help="An action, or a resource with .*")] = "",
    principal: Annotated[str, typer.Option(help="KIND:ID")] = "",
    subject: Annotated[
        str, typer.Option("--object", help="What it was done to, by its identifier.")
    ] = "",
    checkpoint: Checkpoints = [],  # noqa: B006 - typer makes a new list
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Export entries with their proofs. The export itself is written into the log."""
    sizes = [unverified_head(_small_file(path)).size for path in checkpoint]
    query: dict[str, object] = {
        "action": action,
        "principal": principal,
        "object": subject,
        "checkpoint_size": sizes,
    }
    count = 0
    with connected(server, api_key_file) as found, _destination(to) as file:
        for piece in found.stream("/v1/audit/export", query=query):
            file.write(piece)
            count += len(piece)
    output.say(f"{count} bytes exported. Check them with `keylease audit verify`.")


@app.command()
def keys(
    *,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the log's public key and its witnesses' keys, to be pinned by who verifies."""
    with connected(server, api_key_file) as found:
        log = found.ask("GET", "/v1/audit/keys").body
        witnesses = found.ask("GET", "/v1/audit/witnesses").body["items"]
    if as_json:
        output.emit_json({"log": log, "witnesses": witnesses})
        return
    output.emit(log["key"])
    for item in witnesses:
        output.emit(item["key"])
        if not item["independent"]:
            output.warn(f"The witness of {item['size']} entries runs on the platform's machine.")
    output.hint("Keep them where the log's operator cannot change them, and compare with others.")


# --- verification ------------------------------------------------------------------------------


class _SecretSearch:
    """Looks through entries for what looks like a secret."""

    def __call__(self, first: int, entries: Sequence[bytes]) -> None:
        """Raise ``LogFaulty`` at the first one."""
        text = b"\n".join(entries).decode("utf-8", "replace")
        if not detectors.looks_like_secret(text):
            return
        for index, entry in enumerate(entries, start=first):
            found = detectors.find(entry.decode("utf-8", "replace"))
            if found:
                raise LogFaulty(
                    f"Entry {index} contains what looks like a secret ({found[0].kind}).",
                    step=CONTENT_STEP,
                    place=f"entry {index}",
                    index=index,
                    advice="Replace that secret: the log cannot forget it.",
                )


def _verified(
    log: str, trust: Trust, search: _SecretSearch | None, api_key_file: Path | None
) -> Report:
    try:
        if log.startswith(("http://", "https://")):
            with connected(log, api_key_file) as found:
                return verify_log(_ServerLog(found), trust, inspect=search)
        if log != "-" and Path(log).is_dir():
            return verify_log(_directory(Path(log)), trust, inspect=search)
        with _source(log) as file:
            return verify_export(_lines(file), trust, inspect=search)
    except LogFaulty as fault:
        output.say(f"fault at step {fault.step}, {fault.place}")
        if fault.index is not None:
            output.say(f"first entry that is not proven: {fault.index}")
        raise


def _directory(path: Path) -> LogDirectory:
    if not (path / CHECKPOINT).exists():
        raise SettingsInvalid(
            f"{path} is not the directory of a log: it has no checkpoint.",
            advice="A platform keeps its logs in audit/logs of its data directory, one each.",
        )
    return LogDirectory(path)


def _show(report: Report, trust: Trust) -> None:
    for number, step in enumerate(report.steps, start=1):
        output.emit(f"{number}. {step}")
    for cosignature in report.cosigned:
        when = isoformat(cosignature.at * 1_000_000)
        output.emit(f"   witnessed by {cosignature.witness} at {when}")
    if report.completeness:
        output.emit(f"   {report.completeness}")
    output.emit(f"{len(report.steps) + 1}. Tail: {report.tail}.")
    if not trust.outside:
        output.hint("Give a checkpoint that somebody else kept with --checkpoint.")


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "origin": report.origin,
        "size": report.size,
        "root": base64.b64encode(report.root).decode(),
        "outside_size": report.outside_size,
        "tail": report.tail,
        "cosigned": [{"witness": item.witness, "at": item.at} for item in report.cosigned],
        "completeness": report.completeness,
    }


def _check_proof(index: int, server: PlatformConnection, pinned: Sequence[NoteKey]) -> None:
    rotations = server.ask("GET", "/v1/audit/keys").body["rotations"]
    chain = resolve_keys(pinned, [note.encode() for note in rotations])
    proof = server.ask("GET", f"/v1/audit/entries/{index}/proof").body
    head = chain.open(proof["checkpoint"].encode()).head
    check_inclusion(
        leaf=leaf_hash(server.fetch(f"/v1/audit/entries/{index}/raw")),
        index=index,
        size=head.size,
        proof=[base64.b64decode(item) for item in proof["hashes"]],
        root=head.root,
    )


class _ServerLog:
    """The log of a server; a ``TileSource``."""

    def __init__(self, server: PlatformConnection) -> None:
        self._server = server

    def read(self, path: str) -> bytes | None:
        """See ``TileSource``."""
        try:
            return self._server.fetch(f"/v1/audit/log/{path}")
        except ApiProblem as problem:
            if problem.status == _NOT_FOUND:
                return None
            raise


# --- what was given ----------------------------------------------------------------------------


def _keys(given: Sequence[str]) -> list[NoteKey]:
    """Keys as they are, or from files with one on each line; ``#`` begins a remark."""
    found: list[NoteKey] = []
    for item in given:
        lines = [item] if "+" in item else _small_file(Path(item)).decode().splitlines()
        found += [NoteKey.parse(line) for line in lines if line.strip() and line[0] != "#"]
    return found


def _small_file(path: Path) -> bytes:
    try:
        return read_bounded(path, maximum=MAXIMUM_NOTE)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def _source(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below, and errors of use are not its
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        yield file


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE):
        yield line


@contextlib.contextmanager
def _destination(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = Path(path).open("xb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be written: {error.strerror}.") from error
    with file:
        yield file


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    entry = item["entry"]
    return (
        item["index"],
        isoformat(entry["at"])[:19] + "Z",
        entry["action"],
        entry.get("principal") or "the platform",
        entry.get("object", ""),
        entry.get("reason", ""),
    )
