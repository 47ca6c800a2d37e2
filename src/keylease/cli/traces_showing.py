"""`keylease traces show|sum|history`: one trace as a tree, one span whole, sums over many."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import typer

from keylease.cli import output
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import PlatformConnection, connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import (
    AsLines,
    At,
    Filter,
    Project,
    Since,
    Until,
    asked,
    base,
    emit_lines,
    part,
    pointing,
)
from keylease.cli.traces_words import (
    TREE_HEADINGS,
    began,
    branches,
    cost_of,
    lasted,
    money,
    strokes,
    summary_words,
    tokens,
    tree_row,
)
from keylease.primitives.clock import SystemClock


def _named(what: str, digits: int) -> Callable[[str], str]:
    """Take an identifier as OpenTelemetry writes it; say what is wrong before a server is asked."""

    def check(text: str) -> str:
        given = text.lower()
        if given and not re.fullmatch(f"[0-9a-f]{{{digits}}}", given):
            raise typer.BadParameter(f"A {what} is named by {digits} hexadecimal digits.")
        return given

    return check


TraceId = Annotated[
    str,
    typer.Argument(metavar="TRACE", help="The trace; 32 hex digits.", callback=_named("trace", 32)),
]
SpanId = Annotated[
    str,
    typer.Argument(metavar="SPAN", help="The span; 16 hex digits.", callback=_named("span", 16)),
]
_ROWS: Final = 5_000
"""Spans that are read at once."""
_STEM: Final = 40
"""Characters of a tree's lines; what is deeper is cut."""
_A_DAY: Final = "1d"
_TEXTS: Final = ("input", "output")


class Step(StrEnum):
    """The step of a time series."""

    MINUTE = "minute"
    FIVE_MINUTES = "5_minutes"
    FIFTEEN_MINUTES = "15_minutes"
    HOUR = "hour"
    SIX_HOURS = "6_hours"
    DAY = "day"


def show(  # noqa: PLR0913 - one parameter per option of the command
    trace: TraceId,
    span: Annotated[
        str,
        typer.Argument(
            metavar="[SPAN]",
            help="One span of it, with everything it says.",
            callback=_named("span", 16),
        ),
    ] = "",
    *,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Inputs and outputs, too; large ones whole.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many spans to show.")
    ] = 500,
    at: At = "",
    project: Project = "",
    as_json: AsJson = False,
    as_lines: AsLines = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show a trace as a tree with times, tokens and costs; or one span whole."""
    with connected(server, api_key_file) as api:
        path = f"{base(api, project)}/traces/{part(trace)}"
        if span:
            found = _whole(api, path, span, at=at, payloads=payloads)
            if as_json or as_lines:
                output.emit_json(found, indent=0 if as_lines else 2)
            else:
                _show_span(found, payloads=payloads)
            return
        tree = _read(api, path, at=at)
        if payloads:
            for one in tree["spans"][:limit]:
                read = _whole(api, path, one["span_id"], at=tree["at"], payloads=True)
                one.update({name: read[name] for name in _TEXTS})
    if as_lines:
        emit_lines(tree["spans"])
    elif as_json:
        output.emit_json(tree)
    else:
        _show_tree(tree, limit=limit)


def _read(api: PlatformConnection, path: str, *, at: str) -> dict[str, Any]:
    """All of a trace, part by part, as it was at one moment."""
    spans: list[dict[str, Any]] = []
    tree: dict[str, Any] = {}
    offset: int | None = 0
    while offset is not None:
        query = {"at": at, "offset": offset, "limit": _ROWS}
        answer = api.ask("GET", path, query=query).body
        tree = tree or answer
        at, offset = answer["at"], answer["next_offset"]
        spans += [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    return {name: tree[name] for name in ("trace_id", "summary", "at")} | {"spans": spans}


def _whole(
    api: PlatformConnection, path: str, span: str, *, at: str, payloads: bool
) -> dict[str, Any]:
    found: dict[str, Any] = api.ask("GET", f"{path}/spans/{part(span)}", query={"at": at}).body
    for name in _TEXTS if payloads else ():
        if digest := found[f"{name}_payload"]:
            found[name] = api.fetch(f"{path}/texts/{part(digest)}").decode()
    return found


def _show_tree(tree: dict[str, Any], *, limit: int) -> None:
    drawn, summary = strokes(), tree["summary"]
    output.emit(
        f"trace {tree['trace_id']}: {summary_words(summary)}, {began(summary['started_at'])}"
    )
    order = list(branches(tree["spans"], drawn))
    shown = order[:limit]
    rows = [tree_row(branch, summary, drawn, stem_width=_STEM) for branch in shown]
    if not any("input" in branch.span for branch in shown):
        output.emit_table(TREE_HEADINGS, rows)
    else:
        for branch, row in zip(shown, rows, strict=True):
            output.emit_table(TREE_HEADINGS, [row])
            for name in _TEXTS:
                _show_text(name, branch.span.get(name, ""))
    if len(order) > limit:
        output.say(f"{len(order) - limit} more; `--limit {len(order)}` shows them all.")


def _show_span(span: dict[str, Any], *, payloads: bool) -> None:
    rows: list[tuple[str, object]] = [
        ("trace", span["trace_id"]),
        ("span", span["span_id"]),
        ("parent", span["parent_span_id"] or None),
        ("name", span["name"]),
        ("kind", span["kind"]),
        ("source", span["source"]),
        ("status", " ".join(filter(None, (span["status"], span["status_message"])))),
        ("error", span["error"]),
        ("began", began(span["started_at"])),
        ("duration", lasted(span["duration"])),
        ("service", span["service"]),
        ("environment", span["environment"]),
        ("model", " by ".join(filter(None, (span["model"], span["provider"])))),
        ("tokens", tokens(span["input_tokens"], span["output_tokens"])),
        ("cost", cost_of(span)),
        ("prices", span["price_version"]),
        ("session", span["session_id"]),
        ("user", span["user_id"]),
        ("prompt", " ".join(filter(None, (span["prompt_name"], span["prompt_version"])))),
        ("tool", span["tool_name"]),
        ("agent", span["agent_name"]),
        ("tags", ", ".join(span["tags"])),
        *((f"score {name}", value) for name, value in sorted(span["scores"].items())),
        ("metadata", span["metadata"]),
        ("expected", span["expected"]),
        ("transaction", span["xact_id"]),
    ]
    output.emit_table(("MEMBER", "VALUE"), [row for row in rows if row[1] not in ("", None, "-")])
    for name in _TEXTS:
        _show_text(name, span[name], cut=bool(span[f"{name}_payload"]) and not payloads)


def _show_text(name: str, text: str, *, cut: bool = False) -> None:
    if not text:
        return
    output.emit(f"{name}:")
    with contextlib.suppress(msgspec.DecodeError):  # the beginning of a large text is no JSON
        text = output.json_text(msgspec.json.decode(text))
    for line in text.split("\n"):
        output.emit(f"  {output.printable(line)}")
    if cut:
        output.hint(f"The {name} goes on; `--payloads` shows all of it.")


def sums(  # noqa: PLR0913 - one parameter per option of the command
    filter: Filter = "",  # noqa: A002 - the word of the reference
    *,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="In groups by a field, or by a path such as attributes.customer.",
            show_default=False,
        ),
    ] = "",
    step: Annotated[
        Step | None,
        typer.Option(help="In steps of time; of the last day by default.", show_default=False),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Groups of their own.")] = 10,
    count_twins: Annotated[
        bool,
        typer.Option(
            "--count-twins", help="Count a call twice that its program and the gateway report."
        ),
    ] = False,
    since: Since = "",
    until: Until = "",
    at: At = "",
    project: Project = "",
    as_json: AsJson = False,
    as_lines: AsLines = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Sum up spans: how many, errors, latencies, tokens, costs."""
    if step:
        since = since or _A_DAY
    query = asked(filter, since=since, until=until, at=at) | {
        "group_by": by,
        "bucket": step.value if step else "",
        "top": top,
        "count_twins": count_twins,
    }
    if step and not until:
        query["until"] = SystemClock().now()
    with connected(server, api_key_file) as api, pointing(filter):
        items = api.ask("GET", f"{base(api, project)}/trace-sums", query=query).body["items"]
    if as_lines:
        emit_lines(items)
    elif as_json:
        output.emit_json(items)
    else:
        _show_sums(items, by=by, step=step)


def _show_sums(items: list[dict[str, Any]], *, by: str, step: Step | None) -> None:
    headings = [*(["FROM"] if step else []), *([by.upper()] if by else [])]
    headings += ["SPANS", "ERRORS", "P50", "P90", "P99", "TOKENS", "COST"]
    rows = []
    for item in items:
        row: list[object] = [began(item["bucket"])] if step else []
        if by:
            row.append("(others)" if item.get("is_other") else item["group_value"] or None)
        row += [item["spans"], item["errors"]]
        row += [lasted(item[f"duration_{name}"]) for name in ("p50", "p90", "p99")]
        row.append(tokens(item["sum_input_tokens"], item["sum_output_tokens"]))
        row.append(money(item["sum_cost"], unknown=item["unknown_costs"]))
        rows.append(row)
    output.emit_table(headings, rows)
    if not rows:
        output.say("No span matches.")


def history(
    trace: TraceId,
    span: SpanId,
    *,
    project: Project = "",
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List every state of a span: what was changed, when and by whom; newest first."""
    with connected(server, api_key_file) as api:
        path = f"{base(api, project)}/traces/{part(trace)}/spans/{part(span)}/history"
        items = api.ask("GET", path).body["items"]
    if as_json:
        output.emit_json(items)
        return
    rows = [
        (
            # A transaction's number begins with the microseconds at which it was made.
            began(int(item["xact_id"]) // 1000),
            item["changed_by"] or "as it was sent",
            output.json_text(item["change"], indent=0) if item["change"] is not None else None,
            item["xact_id"],
        )
        for item in items
    ]
    output.emit_table(("AT", "BY", "CHANGE", "TRANSACTION"), rows)
