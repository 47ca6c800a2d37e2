"""`keylease sql`: spans in SQL, read only, of the projects that one may read."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer

from keylease.cli import output
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import AsLines, At, Project, base, emit_lines, pointing
from keylease.errors import SettingsInvalid

_SECONDS = 60
"""A statement may take 20 seconds, and may wait for others."""
_LONGEST = 20_000


def command(  # noqa: PLR0913 - one parameter per option of the command
    statement: Annotated[
        str,
        typer.Argument(
            metavar="[STATEMENT]", help="A SELECT over `spans`; by default read from stdin."
        ),
    ] = "-",
    *,
    parameter: Annotated[
        list[str],
        typer.Option(
            "--param",
            metavar="NAME=VALUE",
            help="The value of {NAME:Type} in the statement; JSON, else a text.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    project: Project = "",
    all_projects: Annotated[
        bool, typer.Option("--all-projects", help="Of the whole organization.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how it would be run instead.")
    ] = False,
    at: At = "",
    as_json: AsJson = False,
    as_lines: AsLines = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Ask the spans in SQL: one SELECT over the tables `spans` and `span_versions`."""
    if project and all_projects:
        raise SettingsInvalid("--project and --all-projects exclude each other.")
    text = sys.stdin.read(_LONGEST + 1) if statement == "-" else statement
    if not text.strip():
        raise SettingsInvalid(
            "There is no statement.",
            advice="Give one SELECT as the argument, or on standard input.",
        )
    body = {
        "query": text,
        "parameters": dict(map(_parameter, parameter)),
        "at": at,
        "explain": explain,
    }
    with connected(server, api_key_file, seconds=_SECONDS) as api, pointing(text):
        path = "/v1" if all_projects else base(api, project)
        answer = api.ask("POST", f"{path}/sql", body=body).body
    columns, rows = answer["columns"], answer["rows"]
    if as_json or as_lines:
        # Names may be there twice in SQL, and are not in JSON: the later one is what is seen.
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        if as_lines:
            emit_lines(objects)
        else:
            output.emit_json(objects)
    elif explain:
        for row in rows:
            output.emit(output.printable(str(row[0])))
    else:
        output.emit_table(columns, [[_cell(value) for value in row] for row in rows])
    if not rows:
        output.say("No row.")
    if answer["cut"]:
        output.warn(f"Only the first {len(rows)} rows; a LIMIT in the statement may ask for more.")


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SettingsInvalid(f"{text!r} has no name and value.", advice="Write NAME=VALUE.")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _cell(value: object) -> object:
    return output.json_text(value, indent=0) if isinstance(value, list | dict) else value
