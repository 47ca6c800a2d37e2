"""Traces: what cannot be taken, kept, asked or found."""

from __future__ import annotations

from keylease.errors.api import ApiError


class TraceError(ApiError):
    """Spans cannot be taken, or not be read, now or like this."""

    code = "trace_error"


class SpansMalformed(TraceError):
    """A body that is no OTLP, or is beyond its limits as a whole; nothing of it was taken."""

    code = "spans_malformed"


class SpansTooLarge(SpansMalformed):
    """A body with more bytes than one request may have; nothing of it was taken."""

    code = "spans_too_large"
    http_status = 413


class IngestKeyRequired(TraceError):
    """Spans were sent with something that is no key for them, such as a lease of a gateway."""

    code = "ingest_key_required"
    http_status = 401


class TraceTokenRefused(TraceError):
    """What spans were sent with is no trace token that is good here and now."""

    code = "trace_token_refused"
    http_status = 401


class TraceQueueFull(TraceError):
    """More arrives than can be written; send again after ``retry_after`` seconds."""

    code = "trace_queue_full"
    http_status = 429

    def __init__(self, message: str, *, retry_after: int = 1, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after


class TraceStoreUnavailable(TraceError):
    """The store does not answer; what was acknowledged waits in the write-ahead log."""

    code = "trace_store_unavailable"
    http_status = 503


class TraceStoreInUse(TraceStoreUnavailable):
    """Another process has this store open."""

    code = "trace_store_in_use"


class TraceStoreTooNew(TraceStoreUnavailable):
    """The store was written by a newer version of the program."""

    code = "trace_store_too_new"


class TraceStoreTooOld(TraceStoreUnavailable):
    """The store was written before the first release."""

    code = "trace_store_too_old"


class TraceBatchRefused(TraceError):
    """The store will never take this batch; it is set aside with its reason."""

    code = "trace_batch_refused"


class QueryInvalid(TraceError):
    """A filter or an SQL statement is not one; ``position`` is the character, from 0."""

    code = "query_invalid"
    http_status = 422

    def __init__(self, message: str, *, position: int | None = None, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.position = position


class QueryNotAllowed(QueryInvalid):
    """The statement reaches for something that queries may not use."""

    code = "query_not_allowed"
    http_status = 403


class QueryTooExpensive(TraceError):
    """The query reached a limit of time, memory or rows."""

    code = "query_too_expensive"
    http_status = 422
