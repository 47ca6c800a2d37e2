"""Writes the reference pages that are made from code; with ``--check`` says which are out of date.

python -m docs.generate [--check]
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from docs.span_model import span_model_page

from keylease import errors, settings
from keylease.cli.inventory_schemas import inventory_schemas
from keylease.detectors.definitions import ALL, SHAPES
from keylease.discovery.formats.schemas import schemas as scan_schemas
from keylease.platform.server.app import create_app

if TYPE_CHECKING:
    from keylease.platform.server.services import Services

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made from code by `make docs`; do not edit. -->\n"


def errors_page() -> str:
    """Every error with its code, HTTP status, exit status and meaning."""
    rows = "\n".join(
        f"| `{error.code}` | {error.http_status} | {error.exit_status} | {meaning(error)} |"
        for error in error_tree(errors.KeyleaseError)
    )
    return (
        f"{NOTE}# Errors\n\nCodes are stable. The HTTP status applies where a caller of the\n"
        "gateway sees the error, the exit status where the command line ends with it.\n\n"
        f"| code | HTTP | exit | meaning |\n|---|---|---|---|\n{rows}\n"
    )


def settings_page() -> str:
    """Every setting with its flag, variable, default and meaning."""
    return NOTE + settings.reference_page()


def error_tree(root: type[errors.KeyleaseError]) -> Iterator[type[errors.KeyleaseError]]:
    """The classes of ``keylease.errors`` that have a code of their own, by name."""
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, root) and "code" in vars(member):
            yield member


def meaning(error: type) -> str:
    """The first sentence of a class's docstring."""
    text = inspect.getdoc(error) or ""
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def cli_page() -> str:
    """The help text of every command, as the command itself prints it."""
    sections = [f"{NOTE}# Command line\n"]
    pending: list[tuple[str, ...]] = [()]
    while pending:
        path = pending.pop(0)
        text = help_text(path)
        title = " ".join(("keylease", *path))
        sections.append(f"## {title}\n\n```text\n{text}```\n")
        pending[:0] = [(*path, name) for name in subcommands(text)]
    return "\n".join(sections)


def help_text(path: tuple[str, ...]) -> str:
    """Run ``keylease PATH --help`` in a fixed terminal."""
    environment = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "LANG": "C.UTF-8"}
    result = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "keylease", *path, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines()) + "\n"


def subcommands(text: str) -> list[str]:
    """The names in the commands section of a help text, plain or in a box."""
    _, _, section = text.partition("Commands")
    return re.findall(r"^[│ ] ?([a-z][a-z-]*)  ", section, flags=re.MULTILINE)


def detectors_page() -> str:
    """Every kind of secret with how it is told."""
    rows = [
        f"| `{kind.kind}` | {kind.title} | {kind.provider} | "
        f"{', '.join(f'`{literal.strip()}`' for literal in kind.literals)} | "
        f"{'yes' if kind.check else ''} |"
        for kind in ALL
    ]
    shapes = [
        f"| `{shape.kind}` | {shape.title} | {shape.provider} | `{cell(shape.form.pattern)}` | "
        f"{', '.join(f'`{cell(name)}`' for name in shape.names)} |"
        for shape in SHAPES
    ]
    return (
        f"{NOTE}# Kinds of secrets\n\nWhat `keylease scan` finds, and what call records and traces"
        " are masked for. How it\nworks: [detectors](../design/detectors.md).\n\n"
        "## Told by their form or their place\n\n"
        "| kind | what it is | provider | looked for at | inner check |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n## Told by names near them\n\nThe value has the form, and one of the names stands in"
        " the variable's name or near it. `_` is any\nseparator.\n\n"
        "| kind | what it is | provider | form | names |\n|---|---|---|---|---|\n"
        + "\n".join(shapes)
        + "\n"
    )


def cell(expression: str) -> str:
    """A regular expression inside a table."""
    return expression.replace("|", "\\|")


def schema_page(name: str) -> str:
    """The JSON schema of something that a scan or the inventory writes."""
    return json.dumps({**scan_schemas(), **inventory_schemas()}[name], indent=2) + "\n"


def openapi_page() -> str:
    """The platform's OpenAPI document, as the server serves it. No service is asked for it."""
    return json.dumps(create_app(cast("Services", None)).openapi(), indent=1) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
    "detectors.md": detectors_page,
    "span-model.md": span_model_page,
    "openapi.json": openapi_page,
    **{name: partial(schema_page, name) for name in (*scan_schemas(), *inventory_schemas())},
}


def main() -> int:
    """Write or check every page; the exit status is the number of pages out of date."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name, render in PAGES.items():
        path, text = REFERENCE / name, render()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text)
    for name in stale:
        sys.stderr.write(f"{'out of date' if check else 'written'}: docs/reference/{name}\n")
    if check and stale:
        sys.stderr.write("Run `make docs`.\n")
    return len(stale) if check else 0


if __name__ == "__main__":
    sys.exit(main())
