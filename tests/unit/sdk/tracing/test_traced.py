"""The decorator: spans of functions, coroutines and generators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from keylease.contracts import span_attributes as names
from keylease.errors import InputInvalid
from keylease.platform.traces.model import SpanKind
from keylease.sdk.tracing import traced as decorating
from keylease.sdk.tracing.traced import KINDS, traced


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def only(ended: InMemorySpanExporter) -> ReadableSpan:
    (span,) = ended.get_finished_spans()
    return span


def said(span: ReadableSpan, name: str) -> Any:  # noqa: ANN401 - JSON
    value = (span.attributes or {}).get(name)
    return None if value is None else json.loads(str(value))


def current() -> int:
    return trace.get_current_span().get_span_context().span_id


def test_the_platform_knows_every_kind() -> None:
    assert {kind.value for kind in SpanKind} == KINDS
    with pytest.raises(InputInvalid, match="chain"):
        traced(kind="chain")  # type: ignore[call-overload]  # what is refused


def test_a_call_is_a_span(ended: InMemorySpanExporter) -> None:
    @traced
    def add(left: int, right: int = 2) -> int:
        """Add."""
        return left + right

    assert (add(1), add.__name__, add.__doc__) == (3, "add", "Add.")
    span = only(ended)
    assert span.name.endswith("add")
    assert (span.attributes or {})[names.KIND] == "function"
    assert said(span, names.INPUT) == {"left": 1}
    assert said(span, names.OUTPUT) == 3
    assert current() == 0


def test_calls_within_are_children(ended: InMemorySpanExporter) -> None:
    @traced(name="inner", kind="tool")
    def inner() -> None: ...

    @traced(name="outer", kind="agent", metadata={"team": "search"})
    def outer() -> None:
        inner()

    outer()
    first, second = ended.get_finished_spans()
    assert (first.name, second.name) == ("inner", "outer")
    assert first.parent is not None
    assert second.context is not None
    assert first.parent.span_id == second.context.span_id
    assert said(second, names.METADATA) == {"team": "search"}


def test_what_shall_not_be_recorded_is_not(ended: InMemorySpanExporter) -> None:
    class Shop:
        @traced(leave_out={"password"}, capture_output=False)
        def sign_in(self, name: str, password: str) -> str:
            return name + password

    Shop().sign_in("ada", password="hunter2")
    span = only(ended)
    assert said(span, names.INPUT) == {"name": "ada"}
    assert "hunter2" not in span.to_json()


def test_methods_stay_methods(ended: InMemorySpanExporter) -> None:
    class Shop:
        @traced
        @staticmethod
        def fixed(value: int) -> int:
            return value

        @traced(name="made")
        @classmethod
        def made(cls, value: int) -> str:
            return cls.__name__ + str(value)

    assert (Shop().fixed(1), Shop.made(2), Shop().made(3)) == (1, "Shop2", "Shop3")
    inputs = [said(span, names.INPUT) for span in ended.get_finished_spans()]
    assert inputs == [{"value": 1}, {"value": 2}, {"value": 3}]


def test_arguments_that_are_not_recorded_are_not_looked_at(ended: InMemorySpanExporter) -> None:
    class Costly(dict[str, int]):
        def items(self) -> Any:  # noqa: ANN401 - never called
            raise AssertionError("nobody records")

    @traced(capture_input=False)
    def look(at: Costly) -> int:
        return len(at)

    assert look(Costly(a=1)) == 1
    assert said(only(ended), names.INPUT) is None


def test_an_error_passes_and_is_recorded(ended: InMemorySpanExporter) -> None:
    @traced
    def fail() -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        fail()
    span = only(ended)
    assert span.status.description == "ValueError: no good"
    assert (span.attributes or {})[names.ERROR_TYPE] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


def test_a_wrong_call_fails_as_without(ended: InMemorySpanExporter) -> None:
    @traced
    def one(value: int) -> int:
        return value

    with pytest.raises(TypeError, match="missing 1 required positional"):
        one()  # type: ignore[call-arg]  # the wrong call
    assert only(ended).status.description is not None


async def test_a_coroutine_is_a_span_of_its_own_task(ended: InMemorySpanExporter) -> None:
    @traced
    async def work(number: int) -> int:
        mine = current()
        await asyncio.sleep(0)
        assert current() == mine
        return number

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(work(number))
    spans = ended.get_finished_spans()
    assert sorted(said(span, names.OUTPUT) for span in spans) == [0, 1, 2]
    assert all(span.parent is None for span in spans)


async def test_what_is_cancelled_ends(ended: InMemorySpanExporter) -> None:
    @traced
    async def wait() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only(ended).status.description == "CancelledError: cancelled"


def test_a_generator_is_one_span_and_current_only_within(ended: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("test")
    seen: list[int] = []

    @traced
    def words() -> Generator[str, str, int]:
        seen.append(current())
        got = yield "Hel"
        assert got == "more"
        with tracer.start_as_current_span("within"):
            seen.append(current())
            try:
                yield "lo"
            except KeyError:
                yield "!"
            seen.append(current())
        return 7

    generator = words()
    assert next(generator) == "Hel"
    assert current() == 0
    assert generator.send("more") == "lo"
    assert current() == 0
    assert generator.throw(KeyError()) == "!"
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == 7
    assert current() == 0
    within, span = ended.get_finished_spans()
    assert said(span, names.OUTPUT) == "Hello!"
    assert span.context is not None
    assert within.context is not None
    # what the generator made current stays so for it
    assert seen == [span.context.span_id, within.context.span_id, within.context.span_id]


def test_a_generator_that_is_closed_early_is_no_error(ended: InMemorySpanExporter) -> None:
    cleaned = []

    @traced
    def numbers() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            cleaned.append(True)

    for number in (generator := numbers()):
        if number == 2:
            break
    generator.close()  # type: ignore[attr-defined]  # a generator it is
    assert cleaned == [True]
    span = only(ended)
    assert said(span, names.OUTPUT) == [0, 1, 2]
    assert span.status.is_unset


def test_a_generator_that_fails_says_what_it_gave_before(ended: InMemorySpanExporter) -> None:
    @traced
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("out of numbers")

    with pytest.raises(ValueError, match="out of numbers"):
        list(numbers())
    span = only(ended)
    assert said(span, names.OUTPUT) == [1]
    assert not span.status.is_ok


async def test_async_generators_too(ended: InMemorySpanExporter) -> None:
    @traced
    async def words(count: int) -> AsyncGenerator[int, str | None]:
        got: list[str | None] = []
        for number in range(count):
            await asyncio.sleep(0)
            assert current() != 0
            try:
                got.append((yield number))
            except KeyError:
                got.append("thrown")
        assert got == ["sent", "thrown", None]

    generator = words(3)
    assert await anext(generator) == 0
    assert current() == 0
    assert await generator.asend("sent") == 1
    assert await generator.athrow(KeyError()) == 2
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
    assert said(only(ended), names.OUTPUT) == [0, 1, 2]

    ended.clear()
    cleaned = []

    @traced
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            cleaned.append(True)

    stream = endless()
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # a generator it is
    assert cleaned == [True]
    assert only(ended).status.is_unset


def test_without_opentelemetry_functions_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decorating, "is_installed", lambda: False)

    def plain() -> None: ...

    assert traced(plain) is plain
    assert traced(kind="tool")(plain) is plain
