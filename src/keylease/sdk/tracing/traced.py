"""The decorator ``traced``: a span for each call of a function, coroutine or generator."""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Mapping,
)
from contextlib import AbstractContextManager
from typing import Any, Final, ParamSpec, TypeVar, cast, get_args, overload

from keylease.errors import InputInvalid
from keylease.sdk.tracing.recording import Kind, Recording, Wanted, recording
from keylease.sdk.tracing.values import arguments_of

P = ParamSpec("P")
R = TypeVar("R")
_Began = AbstractContextManager[Recording]
_Begin = Callable[[tuple[Any, ...], Mapping[str, Any]], _Began]
KINDS: Final = frozenset(get_args(Kind))


@overload
def traced(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def traced(
    *,
    name: str = "",
    kind: Kind = "function",
    metadata: Mapping[str, Any] | None = None,
    capture_input: bool = True,
    capture_output: bool = True,
    leave_out: Collection[str] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def traced(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    kind: Kind = "function",
    metadata: Mapping[str, Any] | None = None,
    capture_input: bool = True,
    capture_output: bool = True,
    leave_out: Collection[str] = (),
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Record a span for each call: arguments, result, error, and what is called within.

    A generator's span lasts until it is used up or closed. ``leave_out`` names parameters that are
    not recorded. Without ``keylease[tracing]`` the function is given back as it is. Raises
    ``InputInvalid`` for a kind that there is not.
    """
    if kind not in KINDS:
        raise InputInvalid(
            f"{kind!r} is no kind of span.", advice=f"There are: {', '.join(sorted(KINDS))}."
        )

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        if not is_installed():
            return function
        wanted = Wanted(
            name=name or getattr(function, "__qualname__", type(function).__qualname__),
            kind=kind,
            metadata=metadata,
            capture_input=capture_input,
            capture_output=capture_output,
            leave_out=frozenset(leave_out),
        )
        return _decorated(function, wanted)

    return decorated if function is None else decorated(function)


@functools.cache
def is_installed() -> bool:
    """Whether there is an OpenTelemetry to record with."""
    try:
        return importlib.util.find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _decorated(function: Callable[P, R], wanted: Wanted) -> Callable[P, R]:
    if isinstance(function, staticmethod | classmethod):
        return cast("Callable[P, R]", type(function)(_decorated(function.__func__, wanted)))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions of C extensions have none
        signature = None

    def begun(args: tuple[Any, ...], named: Mapping[str, Any]) -> _Began:
        return recording(
            wanted, lambda: arguments_of(signature, args, named, leave_out=wanted.leave_out)
        )

    if inspect.isasyncgenfunction(function):
        return cast("Callable[P, R]", _of_async_generator(function, begun))
    if inspect.iscoroutinefunction(function):
        return cast("Callable[P, R]", _of_coroutine(function, begun))
    if inspect.isgeneratorfunction(function):
        return cast("Callable[P, R]", _of_generator(function, begun))

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        with begun(args, named) as recorded:
            with recorded.running():
                output = function(*args, **named)
            recorded.gave(output)
            return output

    return call


def _of_coroutine(
    function: Callable[P, Awaitable[R]], begun: _Begin
) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(function)
    async def call(*args: P.args, **named: P.kwargs) -> R:
        with begun(args, named) as recorded:
            with recorded.running():
                output = await function(*args, **named)
            recorded.gave(output)
            return output

    return call


def _of_generator(
    function: Callable[P, Generator[Any, Any, R]], begun: _Begin
) -> Callable[P, Generator[Any, Any, R]]:
    """Step by step, so that the span is current in the generator's own code and nowhere else."""

    @functools.wraps(function)
    def generate(*args: P.args, **named: P.kwargs) -> Generator[Any, Any, R]:
        with begun(args, named) as recorded:
            steps = function(*args, **named)
            sent: Any = None
            thrown: BaseException | None = None
            try:
                while True:
                    try:
                        with recorded.running():
                            item = steps.throw(thrown) if thrown else steps.send(sent)
                    except StopIteration as end:
                        return cast("R", end.value)
                    recorded.gave_item(item)
                    sent = thrown = None
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - it is for the generator
                        thrown = error
            finally:
                with recorded.running():
                    steps.close()

    return generate


def _of_async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], begun: _Begin
) -> Callable[P, AsyncGenerator[Any, Any]]:
    """As ``_of_generator``."""

    @functools.wraps(function)
    async def generate(*args: P.args, **named: P.kwargs) -> AsyncGenerator[Any, Any]:
        with begun(args, named) as recorded:
            steps = function(*args, **named)
            sent: Any = None
            thrown: BaseException | None = None
            try:
                while True:
                    try:
                        with recorded.running():
                            step = steps.athrow(thrown) if thrown else steps.asend(sent)
                            item = await step
                    except StopAsyncIteration:
                        return
                    recorded.gave_item(item)
                    sent = thrown = None
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - it is for the generator
                        thrown = error
            finally:
                with recorded.running():
                    await steps.aclose()

    return generate
