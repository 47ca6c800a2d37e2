"""One span for one call of a function: begun, filled, and ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from keylease.contracts import span_attributes as names
from keylease.sdk.tracing.values import json_of

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

Kind = Literal[
    "llm",
    "embedding",
    "retrieval",
    "reranker",
    "tool",
    "agent",
    "task",
    "function",
    "scorer",
    "guardrail",
    "eval",
    "review",
    "prompt",
    "other",
]
"""What a span is about, in the words of the platform."""
SCOPE: Final = "keylease.tracing"
_MOST_ITEMS: Final = 2_000
"""Items of a generator that its output shows."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a function."""

    name: str
    kind: Kind
    metadata: Mapping[str, Any] | None = None
    capture_input: bool = True
    capture_output: bool = True
    leave_out: frozenset[str] = frozenset()


class Recording:
    """A span that has begun. It is current only while the function's own code runs."""

    def __init__(self, span: Span, wanted: Wanted, context: Context) -> None:
        self._span = span
        self._wanted = wanted
        self._context = context
        self._items: list[object] = []
        self._count = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Make the span current for a step of the function.

        What the function makes current across a ``yield`` is so again at the next step, and never
        for the code that consumes a generator.
        """
        from opentelemetry import context as current  # noqa: PLC0415 - an extra

        token = current.attach(self._context)
        try:
            yield
        finally:
            self._context = current.get_current()
            current.detach(token)

    def gave(self, output: object) -> None:
        """Keep what the function returned."""
        if self._wanted.capture_output and self._span.is_recording():
            self._span.set_attribute(names.OUTPUT, json_of(output))

    def gave_item(self, item: object) -> None:
        """Keep what a generator yielded."""
        self._count += 1
        if self._wanted.capture_output and self._count <= _MOST_ITEMS:
            self._items.append(item)

    def gave_items(self) -> None:
        """Keep what a generator has yielded so far as its output; texts are put together."""
        if self._items and all(isinstance(item, str) for item in self._items):
            self.gave("".join(map(str, self._items)))
        elif self._count:
            more = self._count - len(self._items)
            self.gave([*self._items, *([f"... and {more} more"] if more else [])])

    def failed(self, error: BaseException) -> None:
        """Keep the error that ended the function."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

        if isinstance(error, Exception):
            self._span.record_exception(error)
        what = "cancelled" if isinstance(error, asyncio.CancelledError) else str(error)
        description = f"{type(error).__name__}: {what}" if what else type(error).__name__
        self._span.set_attribute(names.ERROR_TYPE, type(error).__qualname__)
        self._span.set_status(Status(StatusCode.ERROR, description))


@contextlib.contextmanager
def recording(wanted: Wanted, arguments: Callable[[], Mapping[str, Any]]) -> Iterator[Recording]:
    """A span around a block; it ends with the block, and an error passes through it.

    ``arguments`` are asked for only if somebody records.
    """
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    span = trace.get_tracer(SCOPE).start_span(wanted.name)
    recorded = Recording(span, wanted, trace.set_span_in_context(span))
    if span.is_recording():
        span.set_attribute(names.KIND, wanted.kind)
        if wanted.metadata:
            span.set_attribute(names.METADATA, json_of(wanted.metadata))
        if wanted.capture_input and (given := arguments()):
            span.set_attribute(names.INPUT, json_of(given))
    try:
        yield recorded
    except GeneratorExit:
        raise  # who consumed a generator wanted no more of it
    except BaseException as error:
        recorded.failed(error)
        raise
    finally:
        recorded.gave_items()
        span.end()
