"""What a row becomes when something is written to it. Pure; tests hold it to a slow model.

A span that is sent again is a later version of its row. Of two that end at different times the one
that ends later is the later one, whichever came first; at the same time, the one that came later.
What the later one says replaces, what it does not say stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from keylease.errors import TraceBatchRefused
from keylease.platform.traces.interfaces import MergeSpan, Payload
from keylease.platform.traces.model import PREVIEW, Source, Span, SpanKind, Status
from keylease.platform.traces.understanding.payloads import PayloadBox

_FIELDS: Final = Span.__struct_fields__
_VERSION: Final = (
    "organization_id",
    "project_id",
    "trace_id",
    "span_id",
    "xact_id",
    "created_at",
    "sort_at",
    "changed_by",
    "change",
    "source",
)
"""What says which row and which version it is, and not what the span says."""
_MAPS: Final = ("attributes", "resource", "scores")
_TOGETHER: Final = (
    ("started_at", "ended_at", "duration"),
    ("input", "input_preview", "input_payload"),
    ("output", "output_preview", "output_payload"),
    ("cost", "price_version"),
)
"""The first of each says whether the span says them."""
_SINGLE: Final = tuple(
    name
    for name in _FIELDS
    if name not in {*_VERSION, *_MAPS, "metadata", *(each for group in _TOGETHER for each in group)}
)
_SAID_FROM: Final = _FIELDS.index("source") + 1
_IDENTITY: Final = _FIELDS.index("xact_id")
NEVER_SENT: Final = bytes(16)
"""The digest of a row that was made by a merge, before its span came."""
_encoder: Final = msgspec.msgpack.Encoder()

CHANGEABLE: Final = frozenset(
    {"input", "output", "expected", "tags", "scores", "metadata", "error", "name", "kind", "status",
     "status_message", "session_id", "user_id", "environment", "model", "provider", "row_id",
     "parent_span_id", "started_at", "ended_at", "input_tokens", "output_tokens",
     "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost", "prompt_name",
     "prompt_version", "tool_name", "agent_name"}
)  # fmt: skip
"""What a merge may change."""
COMMENT: Final = "comment"
"""What a merge may say that changes nothing of the row: a person's words about it."""
_JSON_FIELDS: Final = ("input", "output", "expected", "metadata")
_TYPES: Final[Mapping[str, object]] = {
    field.name: field.type for field in msgspec.structs.fields(Span)
}


def digest_of(span: Span) -> bytes:
    """Names what a span says: 16 bytes, the same for the same content."""
    values = msgspec.structs.astuple(span)
    said = (values[:_IDENTITY], values[_SAID_FROM:])
    return hashlib.blake2b(_encoder.encode(said), digest_size=16).digest()


def put(current: Span | None, span: Span, *, was_sent: bool = True) -> Span:
    """The row after ``span`` was sent. ``was_sent``: whether ``current`` ever was, or was made.

    The result has the transaction of ``span``, and the place of ``current``.
    """
    if current is None:
        return span
    later, earlier = (span, current)
    if was_sent and current.ended_at > span.ended_at:
        later, earlier = current, span
    state = _over(later, earlier)
    return msgspec.structs.replace(
        state,
        **_as_it_was(current, state),
        xact_id=span.xact_id,
        created_at=current.created_at,
        sort_at=current.sort_at,
        source=span.source,
        changed_by="",
        change="",
    )


def merge(
    current: Span, write: MergeSpan, *, xact_id: int, whole: Mapping[str, str] | None = None
) -> tuple[Span, tuple[Payload, ...]]:
    """The row after a merge, and the large texts of it.

    ``whole`` has the texts of ``current`` that lie in ``payloads``, by the name of the field.
    Raises ``TraceBatchRefused`` for a field that cannot be changed, or not to this.
    """
    box = PayloadBox()
    changed: dict[str, object] = {}
    for name, raw in write.fields.items():
        if name == COMMENT:
            continue  # stands in the history of the row
        if name not in CHANGEABLE:
            raise TraceBatchRefused(f"A merge cannot change the field {name[:64]!r} of a span.")
        changed |= _changed(current, name, bytes(raw), whole or {}, box)
    if "started_at" in changed or "ended_at" in changed:
        started = int(str(changed.get("started_at", current.started_at)))
        ended = int(str(changed.get("ended_at", current.ended_at)))
        changed["duration"] = max(0, ended - started)
    if "cost" in changed:
        changed["price_version"] = "reported" if changed["cost"] is not None else ""
    merged = msgspec.structs.replace(current, **changed)
    change = msgspec.json.encode(dict(write.fields)).decode()
    return (
        msgspec.structs.replace(
            merged, xact_id=xact_id, changed_by=write.by, change=box.keep(change).text
        ),
        box.payloads(),
    )


def made_by_merge(
    write: MergeSpan, *, organization_id: str, project_id: str, xact_id: int, at: int
) -> Span:
    """The row that a merge makes when the span has not come (yet)."""
    return Span(
        organization_id=organization_id,
        project_id=project_id,
        trace_id=write.trace_id,
        span_id=write.span_id,
        xact_id=xact_id,
        created_at=at,
        sort_at=at,
        source=Source.API,
        name="",
        kind=SpanKind.OTHER,
        status=Status.UNSET,
        started_at=at,
        ended_at=at,
        duration=0,
    )


def _over(later: Span, earlier: Span) -> Span:
    changed: dict[str, object] = {}
    for name in _SINGLE:
        value = getattr(later, name)
        if _is_said(name, value):
            changed[name] = value
    for group in _TOGETHER:
        if _is_said(group[0], getattr(later, group[0])):
            changed |= {name: getattr(later, name) for name in group}
    for name in _MAPS:
        if said := getattr(later, name):
            changed[name] = {**getattr(earlier, name), **said}
    if later.metadata:
        changed["metadata"] = _merged_json(earlier.metadata, later.metadata)
    return msgspec.structs.replace(earlier, **changed)


def _as_it_was(current: Span, state: Span) -> dict[str, Any]:
    """What says the same as before, in the order and the spelling of before: it is no change."""
    same: dict[str, Any] = {
        name: before for name in _MAPS if (before := getattr(current, name)) == getattr(state, name)
    }
    if current.metadata != state.metadata and _json(current.metadata) == _json(state.metadata):
        same["metadata"] = current.metadata
    return same


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return text


def _is_said(name: str, value: object) -> bool:
    if name == "kind":
        return value != SpanKind.OTHER
    if name == "status":
        return value != Status.UNSET
    return value is not None and value not in ("", [])


def _changed(
    current: Span, name: str, raw: bytes, whole: Mapping[str, str], box: PayloadBox
) -> dict[str, object]:
    """The fields that one field of a merge changes. Raises ``TraceBatchRefused``."""
    try:
        if name in _JSON_FIELDS:
            return _changed_json(current, name, raw, whole, box)
        if name == "scores":
            given = msgspec.json.decode(raw, type=dict[str, float | None])
            scores = {**current.scores, **given}
            return {name: {key: value for key, value in scores.items() if value is not None}}
        kind = _TYPES[name]
        empty = "" if kind is str else None
        value = msgspec.json.decode(raw)
        if value is None:
            return {name: [] if name == "tags" else empty}
        return {name: msgspec.convert(value, kind)}
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise TraceBatchRefused(
            f"A merge sets the field {name!r} of a span to what it cannot be: {error}."
        ) from None


def _changed_json(
    current: Span, name: str, raw: bytes, whole: Mapping[str, str], box: PayloadBox
) -> dict[str, object]:
    old = whole.get(name) or str(getattr(current, name))
    text = _merged_json(old, raw.decode())
    if name in {"expected", "metadata"}:
        if name == "metadata" and text and not text.startswith("{"):
            raise msgspec.ValidationError("metadata is an object")
        return {name: text}
    kept = box.keep(text)
    return {
        name: kept.text,
        f"{name}_preview": text[:PREVIEW],
        f"{name}_payload": kept.digest,
    }


def _merged_json(old: str, new: str) -> str:
    """``new`` over ``old``: objects key by key (RFC 7396), everything else replaces."""
    given = msgspec.json.decode(new)
    if given is None:
        return ""
    if not isinstance(given, dict):
        return msgspec.json.encode(given).decode()
    try:
        before = msgspec.json.decode(old) if old else {}
    except msgspec.DecodeError:
        before = {}
    return msgspec.json.encode(_patched(before, given)).decode()


def _patched(old: object, new: dict[str, object]) -> dict[str, object]:
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _patched(result.get(key), value)
        else:
            result[key] = value
    return result
