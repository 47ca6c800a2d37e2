"""Metrics in the Prometheus text format (version 0.0.4), added up from the workers' reports.

Labels hold no principal, no lease and no text of a caller: a model's name appears once a call for
it has succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.gateway.messages import CallCount
from keylease.strongroom.gateway.records.call_counts import BUCKETS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SERIES: Final = 20_000
Labels = tuple[tuple[str, str], ...]


class _Histogram:
    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.count = 0
        self.total = 0

    def add(self, buckets: Iterable[int], count: int, total: int) -> None:
        for position, calls in enumerate(buckets):
            self.buckets[position] += calls
        self.count += count
        self.total += total


class CallMetrics:
    """What all workers, also those that have ended, did since the coordinator's start."""

    def __init__(self) -> None:
        self._calls: dict[Labels, int] = {}
        self._durations: dict[Labels, _Histogram] = {}
        self._first_chunks: dict[Labels, _Histogram] = {}
        self._sums: dict[str, dict[Labels, int]] = {
            name: {} for name in ("input", "output", "cost", "retries", "limited")
        }

    def add(self, counts: Iterable[CallCount]) -> None:
        """Take in a report."""
        for count in counts:
            model: Labels = (("provider", count.provider), ("model", count.model))
            status: Labels = (*model, ("status", str(count.status)))
            if status not in self._calls and len(self._calls) >= _SERIES:
                continue
            self._calls[status] = self._calls.get(status, 0) + count.calls
            histogram = self._durations.setdefault(model, _Histogram())
            histogram.add(count.duration_buckets, count.calls, count.duration)
            histogram = self._first_chunks.setdefault(model, _Histogram())
            histogram.add(count.first_chunk_buckets, count.first_chunks, count.first_chunk)
            for name, amount in (
                ("input", count.input_tokens),
                ("output", count.output_tokens),
                ("cost", count.cost),
                ("retries", count.retries),
                ("limited", count.limited),
            ):
                sums = self._sums[name]
                sums[model] = sums.get(model, 0) + amount

    def lines(self) -> list[str]:
        """The families of calls."""
        lines = _family("keylease_calls_total", "counter", "Calls answered.", self._calls)
        lines += _histograms(
            "keylease_call_duration_seconds", "Until the last byte.", self._durations
        )
        lines += _histograms(
            "keylease_time_to_first_chunk_seconds", "Until the first byte.", self._first_chunks
        )
        tokens = {
            (*labels, ("direction", direction)): amount
            for direction in ("input", "output")
            for labels, amount in self._sums[direction].items()
        }
        lines += _family("keylease_tokens_total", "counter", "Tokens used.", tokens)
        cost = {labels: amount / MICROSECONDS for labels, amount in self._sums["cost"].items()}
        lines += _family("keylease_cost_usd_total", "counter", "Known cost in USD.", cost)
        lines += _family(
            "keylease_retries_total", "counter", "Requests sent again.", self._sums["retries"]
        )
        lines += _family(
            "keylease_limited_total", "counter", "Calls over a limit.", self._sums["limited"]
        )
        return lines


def gauge(name: str, text: str, values: Mapping[Labels, float]) -> list[str]:
    """One family of a value that goes up and down."""
    return _family(name, "gauge", text, values)


def counter(name: str, text: str, value: float) -> list[str]:
    """One counter without labels."""
    return _family(name, "counter", text, {(): value})


def _family(name: str, kind: str, text: str, values: Mapping[Labels, float]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in values.items()]
    return lines


def _histograms(name: str, text: str, values: Mapping[Labels, _Histogram]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
    for labels, histogram in values.items():
        running = 0
        for bound, calls in zip(BUCKETS, histogram.buckets, strict=False):
            running += calls
            bucket = (*labels, ("le", f"{bound / MICROSECONDS:g}"))
            lines.append(f"{name}_bucket{_labels(bucket)} {running}")
        lines.append(f"{name}_bucket{_labels((*labels, ('le', '+Inf')))} {histogram.count}")
        lines.append(f"{name}_sum{_labels(labels)} {histogram.total / MICROSECONDS:.6f}")
        lines.append(f"{name}_count{_labels(labels)} {histogram.count}")
    return lines


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
