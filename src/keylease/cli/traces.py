"""`keylease traces`: what programs did, call by call: find, read, follow, annotate, remove."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterable
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import typer

from keylease.cli import output, traces_backups, traces_changes, traces_keeping, traces_showing
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import PlatformConnection, connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import (
    AsLines,
    At,
    Filter,
    Limit,
    Project,
    Since,
    Until,
    asked,
    base,
    emit_lines,
    pointing,
    some,
)
from keylease.cli.traces_words import (
    SESSION_HEADINGS,
    SPAN_HEADINGS,
    SPAN_WIDTHS,
    TRACE_HEADINGS,
    session_row,
    short,
    span_row,
    trace_row,
)
from keylease.errors import SettingsInvalid

app: Final = typer.Typer(
    help="Find, read and annotate traces and spans.", no_args_is_help=True, add_completion=False
)
_VIEWS: Final = {
    "traces": (TRACE_HEADINGS, trace_row),
    "spans": (SPAN_HEADINGS, span_row),
    "sessions": (SESSION_HEADINGS, session_row),
}


class Sort(StrEnum):
    """What a list is ordered by."""

    TIME = "time"
    DURATION = "duration"
    COST = "cost"
    TOKENS = "tokens"


@app.command("list")
def list_them(  # noqa: PLR0913 - one parameter per option of the command
    filter: Filter = "",  # noqa: A002 - the word of the reference
    *,
    project: Project = "",
    spans: Annotated[bool, typer.Option("--spans", help="Spans instead of traces.")] = False,
    sessions: Annotated[
        bool, typer.Option("--sessions", help="Sessions instead of traces.")
    ] = False,
    since: Since = "",
    until: Until = "",
    sort: Annotated[Sort, typer.Option(help="What comes first; the greatest.")] = Sort.TIME,
    ascending: Annotated[bool, typer.Option("--ascending", help="The least first.")] = False,
    at: At = "",
    limit: Limit = 50,
    as_json: AsJson = False,
    as_lines: AsLines = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List traces in which the filter selects a span; the newest first."""
    if spans and sessions:
        raise SettingsInvalid("--spans and --sessions exclude each other.")
    if sessions and (ascending or sort is not Sort.TIME):
        raise SettingsInvalid("Sessions are listed by when they were active last.")
    view = "spans" if spans else "sessions" if sessions else "traces"
    query = asked(filter, since=since, until=until, at=at)
    if not sessions:
        query |= {"sort": sort.value, "ascending": str(ascending).lower()}
    with connected(server, api_key_file) as api, pointing(filter):
        found = some(api, f"{base(api, project)}/{view}", limit=limit, query=query)
        if as_lines:
            emit_lines(found)
            return
        items = list(found)
    if as_json:
        output.emit_json(items)
        return
    headings, row = _VIEWS[view]
    output.emit_table(headings, [row(item) for item in items])
    if not items:
        output.say(f"No {view[:-1]} matches.")


@app.command()
def tail(
    filter: Filter = "",  # noqa: A002 - the word of the reference
    *,
    project: Project = "",
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with new spans.")
    ] = True,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", metavar="N", min=0, max=1000, help="Newest ones to begin."),
    ] = 10,
    as_lines: AsLines = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show the newest spans, and new ones as they come, until it is interrupted."""
    with connected(server, api_key_file) as api, pointing(filter):
        path = base(api, project)
        # The stream is opened before the list is read: a span between the two is in both.
        with contextlib.closing(_events(api, path, filter) if follow else _no_events()) as stream:
            opening = next(stream, None)
            newest = list(some(api, f"{path}/spans", limit=max(1, limit), query=asked(filter)))
            del newest[limit:]
            known = {_state(line) for line in newest}
            if not as_lines:
                output.emit(_fixed(SPAN_HEADINGS))
            _show_each(reversed(newest), as_lines=as_lines)
            for lines in stream:
                _show_each((line for line in lines if _state(line) not in known), as_lines=as_lines)
        if opening is not None:
            output.say("The server has ended the tail.")


Events = Generator[list[dict[str, Any]], None, None]


def _no_events() -> Events:
    yield from ()


def _events(api: PlatformConnection, path: str, text: str) -> Events:
    """The spans of each piece of a stream of server-sent events; first an empty list."""
    waiting = b""
    # Closed here and not when nobody refers to it any more: the connection's loop is closed then.
    with contextlib.closing(api.stream(f"{path}/trace-tail", query={"filter": text})) as pieces:
        for piece in pieces:
            waiting += piece
            *events, waiting = waiting.split(b"\n\n")
            yield [line for event in events if (line := _span_of(event)) is not None]


def _span_of(event: bytes) -> dict[str, Any] | None:
    fields = dict(line.split(b": ", 1) for line in event.splitlines() if b": " in line)
    data = fields.get(b"data", b"")
    match fields.get(b"event"):
        case b"span":
            line: dict[str, Any] = msgspec.json.decode(data)
            return line
        case b"lost":
            output.warn(f"{data.decode()} spans came faster than they could be sent.")
    return None


def _state(line: dict[str, Any]) -> tuple[str, str, str]:
    return line["trace_id"], line["span_id"], line["xact_id"]


def _show_each(lines: Iterable[dict[str, Any]], *, as_lines: bool) -> None:
    if as_lines:
        emit_lines(lines)
        return
    for line in lines:
        output.emit(_fixed(span_row(line)))
        sys.stdout.flush()


def _fixed(cells: Iterable[object]) -> str:
    """A line of a table whose later lines are not there yet."""
    texts = ["-" if cell is None else output.printable(str(cell)) for cell in cells]
    return "  ".join(
        short(text, width).ljust(width) for text, width in zip(texts, SPAN_WIDTHS, strict=True)
    ).rstrip()


app.command("show")(traces_showing.show)
app.command("sum")(traces_showing.sums)
app.command("annotate")(traces_changes.annotate)
app.command("history")(traces_showing.history)
app.command("delete")(traces_changes.delete)
app.command("settings")(traces_changes.settings)
app.command("export")(traces_keeping.export)
app.command("backup")(traces_backups.backup)
app.command("backups")(traces_backups.backups)
app.command("restore")(traces_backups.restore)
app.command("store")(traces_keeping.store)
