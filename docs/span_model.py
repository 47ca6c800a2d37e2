"""Writes the reference of the span model from the dialects' own tables."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Sequence
from itertools import pairwise

from keylease.platform.traces import model
from keylease.platform.traces.understanding import general
from keylease.platform.traces.understanding.dialects import Dialect
from keylease.platform.traces.understanding.registry import DIALECTS

INTRODUCTION = """\
<!-- Made from code by `make docs`; do not edit. -->
# The span model

What the trace store makes of spans: one row for each, with the same fields whoever sent it. How to
send spans: [guide](../guides/traces-sending.md).

Chat messages are in OpenAI's form: `role`, `content` (a text or a list of parts), `tool_calls`,
`tool_call_id`; thinking is `reasoning_content`. Large images and sounds are kept apart and stand as
`keylease-payload:DIGEST`.

## Precedence

A span may speak several dialects. Field by field, the first of these that says it is believed:

{order}

What none says is taken from attributes of OpenTelemetry itself (the last table). An attribute of
the wrong type says nothing. Every attribute is kept as it was sent, understood or not.

A span that only adds up what the spans below it say - an agent that runs in its own program, an
outer span of the Vercel AI SDK - has no tokens and no cost of its own, so that sums over a trace
are right. Its attributes have them.

## Fields

Empty or null is unknown, never zero. Times are UTC microseconds, money is micro-USD. `kind` is one
of {kinds}.

"""


def span_model_page() -> str:
    """Every field of a span, and where each dialect says it."""
    fields = model.Meaning.__struct_fields__
    told = field_docstrings("Meaning")
    introduction = INTRODUCTION.format(
        order="\n".join(f"{number}. {one.title}" for number, one in enumerate(DIALECTS, 1)),
        kinds=", ".join(f"`{kind}`" for kind in model.SpanKind),
    )
    sections = [introduction + table("meaning", ((field, told[field]) for field in fields))]
    sections += [dialect_section(dialect, fields) for dialect in DIALECTS]
    rest = {
        "session_id": general.SESSION,
        "user_id": general.USER,
        "environment": general.ENVIRONMENT,
        "service": (general.SERVICE,),
    }
    rows = [(field, listed(names)) for field, names in rest.items()]
    rows.append(("error", "`error.type`, the last event `exception`, the status's message"))
    sections.append(f"## Every dialect\n\n{table('from', rows)}")
    return "\n".join(sections)


def dialect_section(dialect: Dialect, fields: Sequence[str]) -> str:
    """Where one dialect says what."""
    tables = (dialect.texts, dialect.counts)
    rows = {field: listed(names) for one in tables for field, names in one.items()}
    rows |= dialect.notes
    return (
        f"## {dialect.title}\n\nKnown by attributes that are, or begin with,"
        f" {listed(dialect.prefixes)}.\n\n"
        + table("from", ((field, rows[field]) for field in fields if field in rows))
    )


def table(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, of which the first is a field."""
    lines = [f"| `{field}` | {text} |" for field, text in rows]
    return "\n".join([f"| field | {heading} |", "|---|---|", *lines, ""])


def listed(names: Iterable[str]) -> str:
    """Names as code."""
    return ", ".join(f"`{name}`" for name in names)


def field_docstrings(class_name: str) -> dict[str, str]:
    """The text below each field of a class of the model, as one line."""
    body = next(
        node.body
        for node in ast.parse(inspect.getsource(model)).body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    return {
        field.target.id: " ".join(text.value.value.split()).replace("``", "`")
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
