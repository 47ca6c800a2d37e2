"""``keylease secret``: the sealed store, by a process that may see its bytes.

This process never holds a secret. It starts a strongroom process and lets that one read the
terminal or standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.cli.strongroom_process import run_strongroom
from keylease.contracts.references import Reference
from keylease.errors import SettingsInvalid
from keylease.settings import Settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Keep secrets in the sealed store of this machine.",
)
_STORE_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "VAULT_TOKEN",
)
"""With which `check` reaches a store, when they are set; a running gateway gets them otherwise."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name in sealed://NAME.")]
PassphraseFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="Read the store's passphrase from this descriptor.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def put(  # noqa: PLR0913 - one parameter per option of the command
    name: Name,
    *,
    provider: Annotated[
        str,
        typer.Option(metavar="P", help="Bind the secret to this provider.", show_default=False),
    ] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="H",
            help="Bind it to this host; the provider's own by default. Repeatable.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put a new value in the place of an old one.")
    ] = False,
    passphrase_fd: PassphraseFd = None,
    surplus: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Store a secret: typed at the terminal without echo, or read from standard input."""
    if surplus:
        # Without this the usage error would print what is perhaps a key.
        raise SettingsInvalid(
            "A secret is never an argument.",
            advice="Run the command with the name alone and enter the secret when asked. If that "
            "was a key: the shell's history and the process list have it now; rotate it.",
        )
    Reference.parse(f"sealed://{name}")
    options = [*_flag("--provider", provider), *(["--replace"] if replace else [])]
    for value in host or ():
        options += _flag("--host", value)
    return _run("put", name, options, passphrase_fd=passphrase_fd, dirs=(data_dir, config_dir))


@app.command("list")
def list_secrets(
    *,
    as_json: AsJson = False,
    passphrase_fd: PassphraseFd = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """List the names, dates and bindings of the sealed secrets."""
    options = ["--json"] if as_json else []
    return _run("list", "", options, passphrase_fd=passphrase_fd, dirs=(data_dir, config_dir))


@app.command()
def remove(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    passphrase_fd: PassphraseFd = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Forget a sealed secret."""
    Reference.parse(f"sealed://{name}")
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsInvalid(
                "Removing a secret needs a confirmation, and there is nobody to ask.",
                advice="Add --yes.",
            )
        typer.confirm(f"Remove sealed://{name}?", abort=True, err=True)
    return _run("remove", name, [], passphrase_fd=passphrase_fd, dirs=(data_dir, config_dir))


@app.command()
def check(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="Such as vault://secret/openai#key.")
    ],
    *,
    as_json: AsJson = False,
    passphrase_fd: PassphraseFd = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Fetch a secret from its store and say its version and about how long it is."""
    parsed = Reference.parse(reference)
    variables = _STORE_VARIABLES + ((parsed.path,) if parsed.scheme == "env" else ())
    return _run(
        "check",
        str(parsed),
        ["--json"] if as_json else [],
        passphrase_fd=passphrase_fd,
        dirs=(data_dir, config_dir),
        variables=variables,
    )


@app.command()
def rekey(
    *,
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Put the new key into this new file.", show_default=False
        ),
    ] = None,
    new_passphrase: Annotated[
        bool, typer.Option("--new-passphrase", help="Lock the store by a passphrase.")
    ] = False,
    new_passphrase_fd: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Read the new passphrase from this descriptor.", show_default=False
        ),
    ] = None,
    passphrase_fd: PassphraseFd = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Seal everything again under a new key."""
    options = ["--new-passphrase"] if new_passphrase else []
    if new_key_file is not None:
        options += _flag("--new-key-file", str(new_key_file.absolute()))
    if new_passphrase_fd is not None:
        options += _flag("--new-passphrase-fd", str(new_passphrase_fd))
    return _run(
        "rekey",
        "",
        options,
        passphrase_fd=passphrase_fd,
        dirs=(data_dir, config_dir),
        descriptors=() if new_passphrase_fd is None else (new_passphrase_fd,),
    )


def _run(
    command: str,
    name: str,
    options: list[str],
    *,
    passphrase_fd: int | None,
    dirs: tuple[Path | None, Path | None],
    variables: tuple[str, ...] = (),
    descriptors: tuple[int, ...] = (),
) -> int:
    settings: Settings = settings_from(data_dir=dirs[0], config_dir=dirs[1])
    arguments = [
        f"secret-{command}",
        f"--gateway-file={settings.gateway_file}",
        f"--data-dir={settings.data_dir}",
        *options,
    ]
    if passphrase_fd is not None:
        arguments += _flag("--passphrase-fd", str(passphrase_fd))
        descriptors += (passphrase_fd,)
    if name:
        arguments.append(name)
    sys.stdout.flush()
    return run_strongroom(
        arguments,
        python=str(settings.strongroom_python),
        pass_fds=descriptors,
        stdin=None,
        variables=variables,
    )


def _flag(name: str, value: str) -> list[str]:
    return [f"{name}={value}"] if value else []
