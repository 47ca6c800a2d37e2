"""Spans, their superseded versions, the way from a trace to its rows, large texts, removals.

``spans`` is ordered by minutes before traces, because lists and aggregates ask for times; the hash
of a trace stands there in place of its identifier so that rows of a minute are spread evenly
whatever senders choose; with the hash of the row it is the key, of 128 bits within a minute and a
project, because telling versions apart reads the keys of all rows, and numbers are a third of the
work of identifiers. Granules are small: the newest rows of a project and the rows of a trace are
few. Texts are packed for the disk (ZSTD); what every list shows to be unpacked fast (LZ4); numbers
that sums read of all rows are not packed, which takes a thirtieth more of the disk and a fifth less
of the time of a sum.
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.store.schema import Step, Table

_NAME: Final = "LowCardinality(String) CODEC(LZ4)"
_ID: Final = "String CODEC(LZ4)"
_TEXT: Final = "String CODEC(ZSTD(1))"
_SHOWN: Final = "String CODEC(LZ4)"
_COUNT: Final = "Nullable(Int64) CODEC(T64, LZ4)"
_SUMMED: Final = "Nullable(Int64) CODEC(NONE)"
_TIME: Final = "DateTime64(6, 'UTC') CODEC(Delta, LZ4)"
_WHOLE: Final = "Int64 CODEC(Delta, LZ4)"
_ATTRIBUTES: Final = "Map(LowCardinality(String), String) CODEC(ZSTD(1))"

_SPAN: Final = (
    ("organization_id", _NAME),
    ("project_id", _NAME),
    ("trace_id", _ID),
    ("span_id", _ID),
    ("row_id", _TEXT),
    ("parent_span_id", _ID),
    ("xact_id", "Int64 CODEC(NONE)"),
    ("created_at", _TIME),
    ("sort_at", "DateTime64(6, 'UTC') CODEC(NONE)"),
    ("changed_by", _NAME),
    ("change", _TEXT),
    ("source", _NAME),
    ("name", _NAME),
    ("kind", _NAME),
    ("status", _NAME),
    ("status_message", _TEXT),
    ("started_at", _TIME),
    ("ended_at", _TIME),
    ("duration", "Int64 CODEC(NONE)"),
    ("service", _NAME),
    ("environment", _NAME),
    ("scope", _NAME),
    ("error", _SHOWN),
    ("input", _TEXT),
    ("output", _TEXT),
    ("expected", _TEXT),
    ("input_preview", _SHOWN),
    ("output_preview", _SHOWN),
    ("input_payload", _TEXT),
    ("output_payload", _TEXT),
    ("model", _NAME),
    ("requested_model", _NAME),
    ("provider", _NAME),
    ("input_tokens", _SUMMED),
    ("output_tokens", _SUMMED),
    ("cache_read_tokens", _COUNT),
    ("cache_write_tokens", _COUNT),
    ("reasoning_tokens", _COUNT),
    ("cost", _SUMMED),
    ("price_version", _NAME),
    ("time_to_first_chunk", _COUNT),
    ("session_id", _SHOWN),
    ("user_id", _SHOWN),
    ("prompt_name", _NAME),
    ("prompt_version", _NAME),
    ("tool_name", _NAME),
    ("agent_name", _NAME),
    ("tags", "Array(LowCardinality(String)) CODEC(LZ4)"),
    ("scores", "Map(LowCardinality(String), Float64) CODEC(LZ4)"),
    ("metadata", _TEXT),
    ("attributes", _ATTRIBUTES),
    ("events", _TEXT),
    ("links", _TEXT),
    ("resource", _ATTRIBUTES),
)

_TRACE_HASH: Final = ("trace_hash", "UInt64 MATERIALIZED cityHash64(trace_id) CODEC(LZ4)")
_SPAN_HASH: Final = ("span_hash", "UInt64 MATERIALIZED sipHash64(trace_id, span_id) CODEC(NONE)")
_SEARCHED: Final = (
    "String ALIAS lower(concat(name, ' ', input, ' ', output, ' ', error, ' ', metadata))"
)
"""What a search for words looks at. Computed when it is asked for; the index has its words."""

STEP: Final = Step(
    number=2,
    name="spans",
    tables=(
        Table(
            name="spans",
            columns=(*_SPAN, _TRACE_HASH, _SPAN_HASH, ("searched", _SEARCHED)),
            order_by="organization_id, project_id, toStartOfMinute(sort_at), trace_hash, span_hash",
            replaced_by="xact_id",
            indexes=("words searched TYPE text(tokenizer = splitByNonAlpha)",),
            settings="index_granularity = 256",
        ),
        Table(
            name="span_versions",
            columns=(*_SPAN, ("superseded_by", _WHOLE), _TRACE_HASH),
            order_by="organization_id, project_id, trace_hash, trace_id, span_id, xact_id",
            settings="index_granularity = 1024",
        ),
        Table(
            name="span_keys",
            columns=(
                ("organization_id", _NAME),
                ("project_id", _NAME),
                _TRACE_HASH,
                ("trace_id", _ID),
                ("span_id", _ID),
                ("sort_at", _TIME),
                ("created_at", _TIME),
                ("xact_id", _WHOLE),
                ("digest", "FixedString(16)"),
            ),
            order_by="organization_id, project_id, trace_hash, trace_id, span_id",
            replaced_by="xact_id",
            settings="index_granularity = 256",
        ),
        Table(
            name="payloads",
            columns=(
                ("organization_id", _NAME),
                ("project_id", _NAME),
                ("trace_id", _ID),
                ("digest", _TEXT),
                ("span_id", _ID),
                ("xact_id", _WHOLE),
                ("sort_at", _TIME),
                ("text", _TEXT),
            ),
            order_by="organization_id, project_id, trace_id, digest, span_id",
            settings="index_granularity = 16",
        ),
        Table(
            name="removals",
            columns=(
                ("organization_id", _NAME),
                ("project_id", _NAME),
                ("xact_id", _WHOLE),
                ("removed_at", _TIME),
                ("removed_by", _TEXT),
                ("trace_id", _ID),
                ("span_id", _ID),
                ("user_id", _TEXT),
                ("everything", "Bool"),
            ),
            order_by="organization_id, project_id, xact_id, trace_id, span_id, user_id",
        ),
    ),
)
