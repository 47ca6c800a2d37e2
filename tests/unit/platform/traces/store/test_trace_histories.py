"""Random histories: the store agrees with a slow model of it, in whatever blocks they are written.

The model keeps every state of every row in a list and knows nothing of tables, keys or digests.
Between blocks the engine merges its parts; somewhere the process is killed between two writes of
the engine, opens the store again, and replays the log from somewhere before.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.trace_stores import FIRST, NOW, ORGANIZATION, Writes, a_span, applied

from keylease.platform.traces.ingest.entries import transactions
from keylease.platform.traces.model import Span
from keylease.platform.traces.query.lists import spans_page
from keylease.platform.traces.query.scope import Scope
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
        "metadata": st.sampled_from([{"p": 1}, {"q": {"p": 2}}, {"q": {"q": 3}, "p": 4}]),
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
    st.tuples(
        st.just("remove"), rows, st.sampled_from(["span", "span", "trace", "user", "everything"])
    ),
)
requests = st.lists(writes, min_size=1, max_size=3)
histories = st.lists(requests, min_size=2, max_size=6)
Said = tuple[str, tuple[str, str], Any]


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
        said_of_it, before_it = later.get("metadata"), earlier.get("metadata")
        state["metadata"] = before_it if said_of_it is None else _patched(before_it, said_of_it)
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
            or which == "everything"
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


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Lets so many writes of the engine through, and then kills."""

    def __init__(self, store: TraceStore, patched: pytest.MonkeyPatch, writes: int | None) -> None:
        self._left = writes
        for name in ("insert", "maintain"):
            patched.setattr(store.engine, name, self._killing(getattr(store.engine, name)))

    def _killing(self, write: Callable[..., None]) -> Callable[..., None]:
        def killing(*arguments: object) -> None:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    self._left = None
                    raise Killed
            write(*arguments)

        return killing


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    history=histories,
    blocks=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    kill_after=st.none() | st.integers(0, 14),
    back=st.integers(0, 4),
    merged_after=st.sets(st.integers(0, 6), max_size=2),
    again_from=st.integers(0, 6),
)
def test_the_store_agrees_with_the_model(
    store: TraceStore,
    history: list[list[Said]],
    *,
    blocks: list[int],
    kill_after: int | None,
    back: int,
    merged_after: set[int],
    again_from: int,
) -> None:
    project, model = f"history-{next(_projects)}", Model()
    log = [made for request in history for made in _logged(project, model, request)]
    sizes = itertools.cycle(blocks)
    with pytest.MonkeyPatch.context() as patched:
        Killer(store, patched, kill_after)
        position = 0
        while position < len(log):
            some = log[position : position + next(sizes)]
            try:
                store.apply(*applied(*some))
            except Killed:
                store = TraceStore(store.engine, store.layout, store_id=store.store_id)
                position = max(0, position - back)
                continue
            position += len(some)
            if position in merged_after:
                _merge_parts(store)
    _agree(store, project, model)
    for made in log[again_from:]:
        store.apply(*applied(made))
    _agree(store, project, model, pins=[made.xact_id for made in log])


def _logged(project: str, model: Model, request: Sequence[Said]) -> list[Writes]:
    """The entries of the log for one request; the model is told what they are."""
    whole = Writes(0, project_id=project)
    for kind, (trace, span), said in request:
        if kind == "put":
            full = _full(said)
            if "metadata" in said:
                full["metadata"] = json.dumps(said["metadata"])
            whole.put(a_span(trace_id=trace, span_id=span, **full))
        elif kind == "merge":
            whole.merge(trace, span, **said)
        else:
            whole.remove(
                trace_id=trace if said in {"span", "trace"} else "",
                span_id=span if said == "span" else "",
                user_id="ann" if said == "user" else "",
                everything=said == "everything",
            )
    log, rows, position = [], iter(whole.rows), 0
    for stretch in transactions(whole.writes):
        made = Writes(next(_transactions), project_id=project)
        log.append(made)
        for kind, key, said in request[position : position + len(stretch)]:
            if kind == "put":
                made.put(next(rows).span)
                model.put(key, made.xact_id, _full(said))
            elif kind == "merge":
                made.merge(*key, **said)
                model.merge(key, made.xact_id, said)
            else:
                made.writes += stretch
                model.remove(key, said)
        position += len(stretch)
    assert position == len(request)
    return log


def _full(said: dict[str, Any]) -> dict[str, Any]:
    return {"name": "chat", "started_at": NOW, **said}


def _merge_parts(store: TraceStore) -> None:
    for table in ("spans", "span_versions", "span_keys", "removals"):
        store.engine.run(f"OPTIMIZE TABLE {table} FINAL")


def _agree(store: TraceStore, project: str, model: Model, *, pins: Sequence[int] = ()) -> None:
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
        history = store.reader.history(ORGANIZATION, project, *key)
        assert [_seen(state) for state in reversed(history)] == states
        at = states[len(states) // 2]["xact_id"]
        pinned = store.reader.span(ORGANIZATION, project, *key, at=at)
        assert pinned is not None
        assert _seen(pinned) == states[len(states) // 2]
    for at in pins:
        there = {
            key: max(state["xact_id"] for state in states if state["xact_id"] <= at)
            for key, states in expected.items()
            if states[0]["xact_id"] <= at
        }
        scope = Scope(organization_id=ORGANIZATION, project_ids=(project,), at=at)
        asked = spans_page(scope, limit=50)
        listed = store.select(asked.sql, asked.parameters).dicts()
        assert {(row["trace_id"], row["span_id"]): row["xact_id"] for row in listed} == there
        assert len(listed) == len(there)
        if at == pins[len(pins) // 2]:
            assert sorted((*key, xact_id) for key, xact_id in there.items()) == sorted(
                (trace, *row[:2])
                for trace in TRACES
                for row in store.reader.trace(
                    ORGANIZATION, project, trace, columns=("span_id", "xact_id"), at=at
                ).rows
            )


def _seen(span: Span) -> dict[str, Any]:
    values = msgspec.structs.asdict(span)
    values["metadata"] = json.loads(span.metadata) if span.metadata else None
    return {name: values[name] for name in ("xact_id", *_EMPTY)}
