"""What a worker counts of its calls for the metrics, between two reports to the coordinator."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from keylease.contracts.call_records import CallRecord
from keylease.strongroom.gateway.messages import CallCount

BUCKETS: Final = (
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000, 120_000_000, 300_000_000,
)  # fmt: skip
"""Upper bounds in microseconds."""
_FIRST_BUCKET: Final = BUCKETS[0]
_MODELS: Final = 200
_OTHER: Final = "other"
_SUCCESS: Final = range(200, 300)
_LIMIT_REACHED: Final = "limit_reached"


class _Count:
    __slots__ = (
        "calls", "cost", "duration", "duration_buckets", "first_chunk", "first_chunk_buckets",
        "first_chunks", "input_tokens", "limited", "output_tokens", "retries",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.duration = 0
        self.duration_buckets = [0] * (len(BUCKETS) + 1)
        self.first_chunk = 0
        self.first_chunks = 0
        self.first_chunk_buckets = [0] * (len(BUCKETS) + 1)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost = 0
        self.retries = 0
        self.limited = 0


def _bucket_of(microseconds: int) -> int:
    """The first bucket that holds it; most calls are in one of the first."""
    if microseconds <= _FIRST_BUCKET:
        return 0
    return bisect_left(BUCKETS, microseconds)


class CallCounter:
    """Adds up calls by provider, model and status.

    Callers choose model names, and labels must stay few: a name becomes a label when a call for it
    succeeded, and the first ``_MODELS`` of them only.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], _Count] = {}
        self._models: set[str] = set()

    def add(self, record: CallRecord) -> None:
        """Count one call."""
        model = record.upstream_model
        status = record.status
        if model not in self._models:
            if status in _SUCCESS and len(self._models) < _MODELS:
                self._models.add(model)
            else:
                model = _OTHER
        key = (record.provider, model, status)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count()
        count.calls += 1
        duration = record.duration
        count.duration += duration
        count.duration_buckets[_bucket_of(duration)] += 1
        first_chunk = record.time_to_first_chunk
        if first_chunk is not None:
            count.first_chunks += 1
            count.first_chunk += first_chunk
            count.first_chunk_buckets[_bucket_of(first_chunk)] += 1
        usage = record.usage
        if usage is not None:
            count.input_tokens += usage.input_tokens
            count.output_tokens += usage.output_tokens
        count.cost += record.cost or 0
        count.retries += record.retries
        count.limited += record.error == _LIMIT_REACHED

    def take(self) -> tuple[CallCount, ...]:
        """Everything since the last time."""
        counts, self._counts = self._counts, {}
        return tuple(
            CallCount(
                provider=provider,
                model=model,
                status=status,
                calls=count.calls,
                duration=count.duration,
                duration_buckets=tuple(count.duration_buckets),
                first_chunk=count.first_chunk,
                first_chunk_buckets=tuple(count.first_chunk_buckets),
                first_chunks=count.first_chunks,
                input_tokens=count.input_tokens,
                output_tokens=count.output_tokens,
                cost=count.cost,
                retries=count.retries,
                limited=count.limited,
            )
            for (provider, model, status), count in counts.items()
        )
