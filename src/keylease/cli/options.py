"""Options that several commands share, so that each has one name, one meaning and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keylease.settings import Settings, load

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="PATH", help="Where the product keeps its data.", show_default=False
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        metavar="PATH",
        help="Where gateway.toml and keylease.toml lie.",
        show_default=False,
    ),
]

Server = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="URL",
        help="The platform's address; that of the settings by default.",
        show_default=False,
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="A file that holds an API key.", show_default=False
    ),
]


def settings_from(*, data_dir: Path | None, config_dir: Path | None) -> Settings:
    """The settings with these two flags. Raises ``SettingsInvalid``."""
    return load({"data_dir": data_dir, "config_dir": config_dir}).settings
