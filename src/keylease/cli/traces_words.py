"""How spans, traces and what they took are put into words, for the commands about traces."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from keylease.cli.output import counted, printable
from keylease.primitives.clock import MICROSECONDS, isoformat

_SECONDS_OF: Final = 19
"""Characters of a moment up to its seconds."""
_NAME: Final = 48
"""Characters of a name that a list shows."""
_BAR: Final = 24
"""Characters of the time line of a tree."""
_LONGEST_STEM: Final = 300
"""Characters before a name; a thousand levels of a tree are not drawn to the end."""
_MILLISECOND: Final = 1_000
_MINUTE: Final = 60 * MICROSECONDS
TRACE_HEADINGS: Final = (
    *("BEGAN", "NAME", "STATUS", "DURATION", "SPANS", "ERRORS", "TOKENS", "COST", "TRACE"),
)
SPAN_HEADINGS: Final = (
    *("BEGAN", "NAME", "KIND", "STATUS", "DURATION", "MODEL", "TOKENS", "COST", "TRACE", "SPAN"),
)
SESSION_HEADINGS: Final = (
    *("LAST ACTIVE", "SESSION", "TRACES", "SPANS", "ERRORS", "TOKENS", "COST", "USERS"),
)
SPAN_WIDTHS: Final = (20, 32, 10, 6, 9, 24, 11, 10, 32, 16)


def began(moment: int) -> str:
    """``2026-11-30T08:00:12Z``."""
    return f"{isoformat(moment)[:_SECONDS_OF]}Z"


def lasted(microseconds: int | None) -> str:
    """``12ms``, ``1.50s``, ``2m05s``; ``-`` when it is not known."""
    if microseconds is None:
        return "-"
    if microseconds < MICROSECONDS:
        return f"{microseconds / _MILLISECOND:.4g}ms"
    if microseconds < _MINUTE:
        return f"{microseconds / MICROSECONDS:.2f}s"
    minutes, rest = divmod(microseconds, _MINUTE)
    return f"{minutes}m{rest // MICROSECONDS:02d}s"


def money(micro_usd: int | None, *, unknown: int = 0) -> str:
    """``$0.001234``; ``?`` is unknown, ``+?`` is more than that by what is unknown."""
    if micro_usd is None or (not micro_usd and unknown):
        return "?" if unknown else "-"
    return f"${micro_usd / MICROSECONDS:.6f}{'+?' if unknown else ''}"


def tokens(went_in: int | None, came_out: int | None) -> str:
    """``100+10``."""
    if went_in is None and came_out is None:
        return "-"
    return "+".join("?" if count is None else str(count) for count in (went_in, came_out))


def cost_of(span: Mapping[str, Any]) -> str:
    """Of one span: unknown only where a model was called."""
    return money(span["cost"], unknown=int(bool(span["cost"] is None and span["model"])))


def trace_row(line: Mapping[str, Any]) -> tuple[object, ...]:
    """A trace in a list."""
    sums = line["trace"] or {}
    return (
        began(line["started_at"]),
        short(line["name"]),
        line["status"],
        lasted(_whole(line)),
        sums.get("spans"),
        sums.get("errors"),
        tokens(sums.get("sum_input_tokens"), sums.get("sum_output_tokens")),
        money(sums.get("sum_cost"), unknown=sums.get("unknown_costs", 0)),
        line["trace_id"],
    )


def _whole(line: Mapping[str, Any]) -> int:
    sums = line["trace"]
    if not sums:
        return int(line["duration"])
    return int(sums["last_ended_at"]) - int(sums["first_started_at"])


def span_row(line: Mapping[str, Any]) -> tuple[object, ...]:
    """A span in a list."""
    return (
        began(line["started_at"]),
        short(line["name"]),
        line["kind"],
        line["status"],
        lasted(line["duration"]),
        line["model"] or None,
        tokens(line["input_tokens"], line["output_tokens"]),
        cost_of(line),
        line["trace_id"],
        line["span_id"],
    )


def session_row(line: Mapping[str, Any]) -> tuple[object, ...]:
    """A session in a list."""
    return (
        began(line["last_active_at"]),
        line["session_id"],
        line["traces"],
        line["spans"],
        line["errors"],
        tokens(line["sum_input_tokens"], line["sum_output_tokens"]),
        money(line["sum_cost"], unknown=line["unknown_costs"]),
        ", ".join(line["users"]),
    )


def summary_words(summary: Mapping[str, Any]) -> str:
    """``3 spans, 1 error, 2.00s, 100+10 tokens, $0.000021``."""
    took = summary["ended_at"] - summary["started_at"]
    return ", ".join(
        [
            counted(summary["spans"], "span"),
            counted(summary["errors"], "error"),
            lasted(took),
            f"{tokens(summary['input_tokens'], summary['output_tokens'])} tokens",
            money(summary["cost"], unknown=summary["cost_unknown"]),
        ]
    )


def short(text: str, length: int = _NAME) -> str:
    """The beginning of a text that is too long for its column."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


# --- trees ---------------------------------------------------------------------------------


class Strokes(NamedTuple):
    """What a tree is drawn with."""

    child: str
    last_child: str
    goes_on: str
    nothing: str
    bar: str
    rest: str


LINES: Final = Strokes("├─ ", "└─ ", "│  ", "   ", "█", "·")
ASCII: Final = Strokes("|- ", "`- ", "|  ", "   ", "#", ".")


class Branch(NamedTuple):
    """A span of a trace and where it stands."""

    span: dict[str, Any]
    stem: str
    """What is drawn before its name."""


def strokes() -> Strokes:
    """Lines where the output can show them."""
    encoding = (sys.stdout.encoding or "").lower()
    return LINES if encoding.startswith("utf") else ASCII


def branches(spans: Sequence[dict[str, Any]], drawn: Strokes) -> Iterator[Branch]:
    """Spans as a tree, each before what it has called; begun first comes first.

    A span whose parent is not there stands at the top; of a circle one span does.
    """
    known = {span["span_id"] for span in spans}
    children: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        parent = span["parent_span_id"]
        at = parent if parent in known else ""
        children.setdefault(at, []).append(span)
    seen: set[str] = set()
    for root in (*children.get("", ()), *spans):
        if root["span_id"] in seen:
            continue
        # A stack and no recursion: a trace may be thousands of spans deep.
        waiting = [(root, "", "")]
        while waiting:
            span, stem, below = waiting.pop()
            if span["span_id"] in seen:
                continue
            seen.add(span["span_id"])
            yield Branch(span, stem)
            under = children.get(span["span_id"], ())
            for number, child in reversed(list(enumerate(under, start=1))):
                last = number == len(under)
                waiting.append(
                    (
                        child,
                        below + (drawn.last_child if last else drawn.child),
                        (below + (drawn.nothing if last else drawn.goes_on))[:_LONGEST_STEM],
                    )
                )


def bar(span: Mapping[str, int], summary: Mapping[str, int], drawn: Strokes) -> str:
    """When within its trace a span ran."""
    whole = max(1, summary["ended_at"] - summary["started_at"])
    begin = (span["started_at"] - summary["started_at"]) * _BAR // whole
    begin = min(max(0, begin), _BAR - 1)
    length = max(1, min(_BAR - begin, -(-span["duration"] * _BAR // whole)))
    return drawn.rest * begin + drawn.bar * length + drawn.rest * (_BAR - begin - length)


def tree_row(
    branch: Branch, summary: Mapping[str, Any], drawn: Strokes, *, stem_width: int
) -> tuple[object, ...]:
    """A line of a tree."""
    span = branch.span
    stem = branch.stem if len(branch.stem) <= stem_width else f"{branch.stem[:stem_width]}... "
    return (
        stem + printable(short(span["name"])),
        span["kind"],
        bar(span, summary, drawn),
        lasted(span["duration"]),
        span["model"] or None,
        tokens(span["input_tokens"], span["output_tokens"]),
        cost_of(span),
        span["span_id"],
        span["error"] or ("error" if span["status"] == "error" else ""),
    )


TREE_HEADINGS: Final = (
    *("NAME", "KIND", "TIME", "DURATION", "MODEL", "TOKENS", "COST", "SPAN", "ERROR"),
)
