"""Random histories: the store agrees with a slow model of it, in whatever blocks they are written.

The model keeps every state of every row in a list and knows nothing of tables, keys or digests.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.trace_stores import FIRST, NOW, ORGANIZATION, Writes, a_span, applied

from keylease.platform.traces.model import Span
from keylease.platform.traces.store.columns import span_of
from keylease.platform.traces.store.store import TraceStore

_transactions = itertools.count(FIRST + 1, 10)
_projects = itertools.count()
TRACES = ("1" * 32, "2" * 32)
SPANS = ("a" * 16, "b" * 16)

rows = st.tuples(st.sampled_from(TRACES), st.sampled_from(SPANS))
puts = st.fixed_dictionaries(
    {"ended_at": st.sampled_from([NOW + 1, NOW + 2])},
    optional={
        "name": st.sampled_from(["one", "two"]),
        "output": st.sampled_from(['"x"', '"y"']),
        "tags": st.just(["t"]),
        "scores": st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.0, 1.0]), max_size=2),
        "input_tokens": st.integers(0, 3),
        "started_at": st.sampled_from([NOW, NOW - 3_600_000_000]),
        "user_id": st.just("ann"),
    },
)
merges = st.fixed_dictionaries(
    {},
    optional={
        "scores": st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.5, None]), min_size=1),
        "metadata": st.recursive(
            st.sampled_from([1, None]),
            lambda inner: st.dictionaries(st.sampled_from("pq"), inner, max_size=2),
            max_leaves=4,
        ).filter(lambda value: isinstance(value, dict)),
        "tags": st.sampled_from([["m"], []]),
        "output": st.sampled_from(["z", None]),
    },
).filter(bool)
writes = st.one_of(
    st.tuples(st.just("put"), rows, puts),
    st.tuples(st.just("put"), rows, puts),
    st.tuples(st.just("put"), rows, puts),
    st.tuples(st.just("merge"), rows, merges),
    st.tuples(st.just("merge"), rows, merges),
)
removals = st.tuples(st.just("remove"), rows, st.sampled_from(["span", "trace", "user"]))
batches = st.one_of(
    st.lists(writes, min_size=1, max_size=3),
    st.lists(writes, min_size=1, max_size=3),
    # by itself: a row that one transaction writes before and after a removal would look replayed
    removals.map(lambda removal: [removal]),
)
histories = st.lists(batches, min_size=2, max_size=6)


class Model:
    """Rows as lists of states, the last one current."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def put(self, key: tuple[str, str], xact_id: int, said: dict[str, Any]) -> None:
        before = self.states.get(key, [])
        if before and before[-1]["sent"] == said:
            return
        if not before:
            state = {**_EMPTY, **said}
            self._add(key, xact_id, state, said)
            return
        old = before[-1]
        later, earlier = said, old
        is_under = old["sent"] is not None and old["ended_at"] > said["ended_at"]
        if is_under:
            later, earlier = old, {**_EMPTY, **said}
        state = dict(earlier)
        for name, value in later.items():
            if name in {"sent", "xact_id", "metadata"}:
                continue
            if name == "scores":
                state[name] = {**earlier["scores"], **value}
            elif value not in (None, "", [], {}):
                state[name] = value
        state["metadata"] = old["metadata"]
        if any(state[name] != old[name] for name in _EMPTY):
            self._add(key, xact_id, state, old["sent"] if is_under else said)

    def merge(self, key: tuple[str, str], xact_id: int, fields: dict[str, Any]) -> None:
        before = self.states.get(key, [])
        at = xact_id // 1000
        made = {**_EMPTY, "name": "", "started_at": at, "ended_at": at}
        state = dict(before[-1]) if before else made
        for name, value in fields.items():
            if name == "scores":
                merged = {**state["scores"], **value}
                state[name] = {key: score for key, score in merged.items() if score is not None}
            elif name == "metadata":
                state[name] = _patched(state[name] or {}, value)
            elif name == "output":
                state[name] = "" if value is None else json.dumps(value)
            else:
                state[name] = value
        self._add(key, xact_id, state, before[-1]["sent"] if before else None)

    def remove(self, key: tuple[str, str], which: str) -> None:
        trace, span = key
        gone = {
            each
            for each in self.states
            if (which == "span" and each == (trace, span))
            or (which == "trace" and each[0] == trace)
        }
        if which == "user":
            traces = {
                each[0]
                for each, states in self.states.items()
                if any(state["user_id"] == "ann" for state in states)
            }
            gone = {each for each in self.states if each[0] in traces}
        for each in gone:
            del self.states[each]

    def _add(self, key: tuple[str, str], xact_id: int, state: dict[str, Any], sent: object) -> None:
        states = self.states.setdefault(key, [])
        if states and states[-1]["xact_id"] == xact_id:
            states.pop()
        states.append({**state, "xact_id": xact_id, "sent": sent})


_EMPTY: dict[str, Any] = {
    "name": "chat",
    "output": "",
    "tags": [],
    "scores": {},
    "input_tokens": None,
    "started_at": NOW,
    "ended_at": NOW,
    "user_id": "",
    "metadata": None,
}


def _patched(old: object, new: object) -> object:
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _patched(result.get(key), value)
    return result


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(histories, st.lists(st.integers(1, 3), min_size=1), st.integers(0, 6))
def test_the_store_agrees_with_the_model(
    store: TraceStore,
    history: list[list[tuple[str, tuple[str, str], Any]]],
    blocks: list[int],
    replayed: int,
) -> None:
    project, model = f"history-{next(_projects)}", Model()
    batches, is_removed = [], False
    for batch in history:
        xact_id = next(_transactions)
        made = Writes(xact_id, project_id=project)
        for kind, (trace, span), said in batch:
            if kind == "put":
                full = {"name": "chat", "started_at": NOW, **said}
                made.put(a_span(trace_id=trace, span_id=span, **full))
                model.put((trace, span), xact_id, full)
            elif kind == "merge":
                made.merge(trace, span, **said)
                model.merge((trace, span), xact_id, said)
            else:
                made.remove(
                    trace_id="" if said == "user" else trace,
                    span_id=span if said == "span" else "",
                    user_id="ann" if said == "user" else "",
                )
                model.remove((trace, span), said)
                is_removed = True
        batches.append(made)
    sizes, position = itertools.cycle(blocks), 0
    while position < len(batches):
        size = next(sizes)
        store.apply(*applied(*batches[position : position + size]))
        position += size
    _agree(store, project, model)
    store.apply(*applied(*batches[replayed:]))
    if not is_removed:
        _agree(store, project, model)


def _agree(store: TraceStore, project: str, model: Model) -> None:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in ("span_versions", "spans"):
        answer = store.select(
            f"SELECT * FROM {table} FINAL WHERE project_id = {{p:String}} "  # noqa: S608 - ours
            "ORDER BY xact_id",
            {"p": project},
        )
        for row in answer.dicts():
            span = span_of(row)
            found.setdefault((span.trace_id, span.span_id), []).append(_seen(span))
    expected = {
        key: [{name: state[name] for name in ("xact_id", *_EMPTY)} for state in states]
        for key, states in model.states.items()
    }
    assert found == expected
    for key, states in expected.items():
        at = states[len(states) // 2]["xact_id"]
        pinned = store.reader.span(ORGANIZATION, project, *key, at=at)
        assert pinned is not None
        assert _seen(pinned) == states[len(states) // 2]


def _seen(span: Span) -> dict[str, Any]:
    values = msgspec.structs.asdict(span)
    values["metadata"] = json.loads(span.metadata) if span.metadata else None
    return {name: values[name] for name in ("xact_id", *_EMPTY)}
