"""`keylease config`: the settings in force, and where each of them comes from."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from keylease.cli import output
from keylease.cli.options import ConfigDir, DataDir
from keylease.settings import declarations, load

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Show the settings and where they come from.",
)


@app.callback()
def config() -> None:
    """Show the settings and where they come from."""


def _shown(value: str, *, secret: bool) -> str:
    """Without what is secret; a database's address may hold a password."""
    if secret:
        return "********" if value else ""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", value)


@app.command()
def show(
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value comes from.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> None:
    """Show every setting: flag, then variable, then settings.toml, then default."""
    loaded = load({"data_dir": data_dir, "config_dir": config_dir})
    declared = declarations()
    values = {
        name: _shown(str(getattr(loaded.settings, name)), secret=declared[name].secret)
        for name in loaded.origins
    }
    if as_json:
        output.emit_json(
            {
                name: {"value": value, "origin": loaded.origins[name]} if origin else value
                for name, value in values.items()
            }
        )
    elif origin:
        output.emit_table(
            ("SETTING", "VALUE", "ORIGIN"),
            [(name, value, loaded.origins[name]) for name, value in values.items()],
        )
    else:
        output.emit_table(("SETTING", "VALUE"), list(values.items()))
