"""What the commands about traces have in common: the project, filters, times, forms of output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import UUID

import typer

from keylease.cli import output
from keylease.cli.inventory_words import moment_of
from keylease.cli.platform_connection import PlatformConnection
from keylease.errors import ApiProblem, SettingsInvalid
from keylease.primitives.clock import SystemClock

Project = Annotated[
    str,
    typer.Option(
        "--project",
        "-p",
        metavar="PROJECT",
        help="Name or id of the project; by default the only one, or the one named `default`.",
        show_default=False,
    ),
]
Filter = Annotated[
    str,
    typer.Argument(
        metavar="[FILTER]",
        help="Such as 'kind = llm and cost > 0.05 usd'; see docs/reference/query.md.",
    ),
]
Since = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Begun from then on: 10m, 2h, 7d, or 2026-11-30T08:00Z.",
        show_default=False,
    ),
]
Until = Annotated[str, typer.Option(metavar="TIME", help="Begun before then.", show_default=False)]
At = Annotated[
    str,
    typer.Option(
        metavar="TRANSACTION",
        help="As it was after this transaction; repeatable.",
        show_default=False,
    ),
]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10_000)]
AsLines = Annotated[bool, typer.Option("--ndjson", help="One JSON object per line.")]
_DEFAULT: Final = "default"
_PAGE: Final = 100


def base(api: PlatformConnection, project: str) -> str:
    """The path of a project's resources. Raises ``SettingsInvalid`` when there is none."""
    return f"/v1/projects/{_identifier(api, project)}"


def _identifier(api: PlatformConnection, project: str) -> str:
    with contextlib.suppress(ValueError):
        return str(UUID(project))
    names = {str(found["name"]): str(found["id"]) for found in api.pages("/v1/projects")}
    if project in names:
        return names[project]
    if project:
        known = ", ".join(sorted(names)) or "none"
        raise SettingsInvalid(
            "There is no project with this name.", advice=f"Projects you may see: {known}."
        )
    if len(names) == 1:
        return next(iter(names.values()))
    if _DEFAULT in names:
        return names[_DEFAULT]
    if not names:
        raise SettingsInvalid("There is no project that you may see.")
    raise SettingsInvalid(
        "There is more than one project.", advice=f"Name one: --project {min(names)!r}."
    )


def part(text: str) -> str:
    """An identifier as a part of a path."""
    return quote(text, safe="")


def asked(text: str, *, since: str = "", until: str = "", at: str = "") -> dict[str, object]:
    """The query of a list."""
    now = SystemClock().now()
    return {
        "filter": text,
        "since": moment_of(since, now=now) if since else None,
        "until": moment_of(until, now=now) if until else None,
        "at": at,
    }


def some(
    api: PlatformConnection, path: str, *, limit: int, query: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """The first items of a list, as many as are wanted."""
    found = api.pages(path, **{**query, "limit": min(limit, _PAGE)})
    for _, item in zip(range(limit), found, strict=False):
        yield item


@contextlib.contextmanager
def pointing(text: str) -> Iterator[None]:
    """Show which character of a filter or of a statement is wrong, when the platform says so."""
    try:
        yield
    except ApiProblem as error:
        if error.position is None:
            raise
        raise ApiProblem(
            f"{error.message}\n{pointed(text, error.position)}",
            status=error.status,
            reason=error.reason,
            advice=error.advice,
        ) from None


def pointed(text: str, position: int) -> str:
    """The line of a text with a caret below one of its characters."""
    position = min(position, len(text))
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : None if end < 0 else end]
    return f"  {line}\n  {' ' * (position - start)}^"


def emit_lines(items: Iterable[object]) -> None:
    """Write one JSON object per line, each as soon as it is there."""
    for item in items:
        output.emit_json(item, indent=0)
        sys.stdout.flush()
