from __future__ import annotations

import msgspec
from tests.support.call_records import call_record

from keylease.strongroom.gateway.records.call_counts import BUCKETS, CallCounter
from keylease.strongroom.gateway.records.metrics import CallMetrics, gauge


def test_histograms_add_up() -> None:
    counter, metrics = CallCounter(), CallMetrics()
    for duration in (5_000, 30_000, 10**9):
        counter.add(msgspec.structs.replace(call_record(), duration=duration))
    metrics.add(counter.take())
    metrics.add(counter.take())
    text = "\n".join(metrics.lines())
    labels = 'provider="openai",model="gpt-4o"'
    assert f'keylease_calls_total{{{labels},status="200"}} 3' in text
    assert f'keylease_call_duration_seconds_bucket{{{labels},le="0.01"}} 1' in text
    assert f'keylease_call_duration_seconds_bucket{{{labels},le="0.05"}} 2' in text
    assert f'keylease_call_duration_seconds_bucket{{{labels},le="300"}} 2' in text
    assert f'keylease_call_duration_seconds_bucket{{{labels},le="+Inf"}} 3' in text
    assert f"keylease_cost_usd_total{{{labels}}} 1.5e-05" in text
    assert f'keylease_tokens_total{{{labels},direction="input"}} 9' in text
    assert len(BUCKETS) == 14


def test_a_caller_cannot_make_labels() -> None:
    counter = CallCounter()
    for number in range(1000):
        record = call_record()
        counter.add(msgspec.structs.replace(record, upstream_model=f"no-{number}", status=404))
        counter.add(msgspec.structs.replace(record, upstream_model=f"yes-{number}"))
    models = {count.model for count in counter.take()}
    assert len(models) == 201
    assert not any(model.startswith("no-") for model in models)


def test_label_values_are_escaped() -> None:
    lines = gauge("name", "text", {(("label", 'a"b\\c\nd'),): 1})
    assert lines[-1] == 'name{label="a\\"b\\\\c\\nd"} 1'
