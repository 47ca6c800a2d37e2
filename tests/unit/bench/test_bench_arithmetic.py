"""The arithmetic of the benchmarks: percentiles, medians, what is compared with what."""

from __future__ import annotations

import operator

import pytest

import load
import measuring
import peers
import run
from measuring import Round


def rounds(*rates: float | None, errors: int = 0) -> list[Round]:
    return [
        Round({"errors": errors} | ({"rate": rate} if rate is not None else {}), cpu=0.0)
        for rate in rates
    ]


def test_percentiles_are_of_the_nearest_rank_and_in_milliseconds() -> None:
    values = [number * 1_000_000 for number in range(100, -1, -1)]
    assert load.summary(values) == {"p50": 50, "p90": 90, "p99": 99, "max": 100, "mean": 50}
    assert load.summary([2_500_000]) == dict.fromkeys(("p50", "p90", "p99", "max", "mean"), 2.5)
    assert load.summary([]) == {}


def test_a_value_is_found_by_its_path() -> None:
    one = Round({"latency": {"p50": 2}, "rate": 3}, cpu=0.0)
    assert (one.value("latency.p50"), one.value("rate")) == (2.0, 3.0)
    assert one.value("latency.p99") is None
    assert one.value("rate.p50") is None


def test_a_median_leaves_out_what_was_not_measured() -> None:
    assert measuring.median(rounds(3, None, 1, 8), "rate") == 3
    assert measuring.median(rounds(None), "rate") is None
    assert measuring.median([], "rate") is None


def test_differences_are_taken_within_a_round() -> None:
    # The machine was twice as fast in the second round: the ratio stays what it is.
    found = {"ours": rounds(100, 200, 120), "theirs": rounds(50, 100, 60)}
    assert measuring.paired(found, "ours", "theirs", "rate", operator.truediv) == 2
    assert measuring.paired(found, "ours", "theirs", "rate", operator.sub) == 60


def test_a_round_that_misses_one_of_the_two_is_not_compared() -> None:
    found = {"ours": rounds(100, None, 300), "theirs": rounds(50, 60, 0)}
    assert measuring.paired(found, "ours", "theirs", "rate", operator.truediv) == 2
    assert measuring.paired(found, "ours", "absent", "rate", operator.truediv) is None


def test_errors_add_up_over_rounds() -> None:
    assert measuring.errors(rounds(1, 1, errors=2)) == 4
    assert measuring.errors([Round({}, cpu=0.0)]) == 0


def test_every_round_measures_each_once_and_begins_with_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def measure(target: peers.Running, **spec: object) -> Round:
        seen.append(target.name)
        return Round({"rate": len(seen), **spec}, cpu=0.0)

    monkeypatch.setattr(measuring, "measure", measure)
    targets = [peers.Running(name, None, 0) for name in "abc"]
    found = measuring.interleave(targets, 4, kind="closed")
    assert ["".join(seen[at : at + 3]) for at in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]
    # The rounds of each stand in their order, so that the n-th of two are of the same round.
    assert [one.value("rate") for one in found["a"]] == [1, 6, 8, 10]


def test_chunks_are_preserved_when_each_event_came_in_one_of_its_own() -> None:
    def stream(events: int, chunks: int, errors: int = 0) -> Round:
        seen = {"streams": 2, "events": events, "wire_chunks": chunks, "errors": errors}
        return Round(seen, cpu=0.0)

    assert run.preserved([stream(40, 40), stream(40, 40)], 20) == "yes"
    assert run.preserved([stream(40, 40), stream(40, 39)], 20) == "no"
    assert run.preserved([stream(39, 39)], 20) == "no"
    assert run.preserved([stream(40, 40, errors=1)], 20) == "-"
    assert run.preserved([], 20) == "-"
