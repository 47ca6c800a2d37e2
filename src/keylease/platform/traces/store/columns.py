"""Rows into columns: what the tables hold, as Arrow has it.

Only this module and the steps of the schema know the types; a test compares the two. Importing it
loads Arrow, so that who only may need the store imports it late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import pyarrow as pa

from keylease.platform.traces.model import Span

MAPS: Final = frozenset({"scores", "attributes", "resource"})
TIMES: Final = frozenset(
    {"created_at", "sort_at", "started_at", "ended_at", "removed_at", "applied_at"}
)
"""Columns that are times; in Python they are microseconds."""
_TIME: Final = pa.timestamp("us", tz="UTC")
_TEXTS: Final = pa.map_(pa.string(), pa.string())
_NUMBERS: Final = pa.map_(pa.string(), pa.float64())
_KINDS: Final[Mapping[str, pa.DataType]] = {
    "tags": pa.list_(pa.string()),
    "scores": _NUMBERS,
    "attributes": _TEXTS,
    "resource": _TEXTS,
    "everything": pa.bool_(),
    "digest_bytes": pa.binary(16),
} | dict.fromkeys(TIMES, _TIME)
_WHOLE: Final = frozenset(
    {"xact_id", "superseded_by", "duration", "cost", "time_to_first_chunk"}
    | {name for name in Span.__struct_fields__ if name.endswith("_tokens")}
)

SPAN_COLUMNS: Final = Span.__struct_fields__
"""In the order of ``Span``, of ``msgspec.structs.astuple`` and of the table."""
VERSION_COLUMNS: Final = (*SPAN_COLUMNS, "superseded_by")
KEY_COLUMNS: Final = (
    "organization_id",
    "project_id",
    "trace_id",
    "span_id",
    "sort_at",
    "created_at",
    "xact_id",
    "digest",
)
PAYLOAD_COLUMNS: Final = (
    "organization_id",
    "project_id",
    "trace_id",
    "digest",
    "span_id",
    "xact_id",
    "sort_at",
    "text",
)
REMOVAL_COLUMNS: Final = (
    "organization_id",
    "project_id",
    "xact_id",
    "removed_at",
    "removed_by",
    "trace_id",
    "span_id",
    "user_id",
    "everything",
)


def kind_of(column: str) -> pa.DataType:
    """The Arrow type of a column."""
    if column in _KINDS:
        return _KINDS[column]
    return pa.int64() if column in _WHOLE else pa.string()


def columns_of(
    names: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    kinds: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """Rows, whose values stand in the order of ``names``, as a table of columns."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    arrays = []
    for name, values in zip(names, columns, strict=True):
        kind = (kinds or {}).get(name) or kind_of(name)
        arrays.append(_maps(values, kind) if name in MAPS else pa.array(values, type=kind))
    return pa.Table.from_arrays(arrays, names=list(names))


def spans_table(spans: Sequence[Span]) -> pa.Table:
    """Rows of ``spans``."""
    return columns_of(SPAN_COLUMNS, [msgspec.structs.astuple(span) for span in spans])


def span_of(row: Mapping[str, object]) -> Span:
    """A row that was read. Unknown columns of a newer step are left out."""
    return msgspec.convert(
        {name: row[name] for name in SPAN_COLUMNS if name in row}, Span, strict=False
    )


def _maps(maps: Iterable[object], kind: pa.MapType) -> pa.MapArray:
    """All keys and all values of a column one after the other: no object for each entry."""
    keys: list[object] = []
    values: list[object] = []
    offsets = [0]
    for each in maps:
        if not isinstance(each, dict):
            raise TypeError("a column of maps has something else")
        keys += each
        values += each.values()
        offsets.append(len(keys))
    return pa.MapArray.from_arrays(
        pa.array(offsets, type=pa.int32()),
        pa.array(keys, type=kind.key_type),
        pa.array(values, type=kind.item_type),
        type=kind,
    )
