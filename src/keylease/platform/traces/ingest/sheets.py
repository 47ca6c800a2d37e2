"""The texts of a span as lines ``name: text``, and a span made again of other texts.

Searching one sheet for a whole request is much cheaper than searching each text, and the name
before a text tells the detectors what it is. ``lines`` and ``rewritten`` visit the same places in
the same order; that is all that connects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from keylease.platform.traces.model import AttributeValue, Origin, RawSpan

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""Types that are one line as they are; numbers hold no secret, and cost less than leaving out."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One text, with the name it stands under."""

    name: str
    text: str
    fixed: bool = False
    """The name is ours, and no part of what was sent."""


Replacement = Iterator[tuple[str, str]]
"""New name and text of every line, in order."""


def sheet(spans: list[RawSpan]) -> tuple[str, bool]:
    """Everything that is text in some spans, and whether there are bytes beside it.

    What spans share stands there once.
    """
    parts: list[str] = []
    seen: set[int] = set()
    binary = _Seen()
    for span in spans:
        origin = span.origin
        if id(origin) not in seen:
            seen.add(id(origin))
            parts += (origin.scope_name, origin.scope_version)
            parts += _texts(origin.resource, binary)
        parts.append(span.name)
        if span.status_message:
            parts.append(f"status: {span.status_message}")
        parts += _texts(span.attributes, binary)
        for event in span.events:
            parts.append(event.name)
            parts += _texts(event.attributes, binary)
        for link in span.links:
            parts += _texts(link.attributes, binary)
    return "\n".join(parts), binary.bytes


class _Seen:
    bytes: bool = False


def _texts(attributes: dict[str, AttributeValue], seen: _Seen) -> list[str]:
    return [
        f"{key}: {value}" if type(value) in _PLAIN else _nested(key, value, seen)  # type: ignore[str-bytes-safe]  # bytes are not plain
        for key, value in attributes.items()
    ]


def _nested(key: str, value: AttributeValue, seen: _Seen) -> str:
    if isinstance(value, list):
        return "\n".join([_nested(key, one, seen) for one in value] or [key])
    if isinstance(value, dict):
        return "\n".join([f"{key}: ", *_texts(value, seen)])
    if isinstance(value, bytes):
        seen.bytes = True
        return f"{key}: "
    return f"{key}: {value}"


def lines(span: RawSpan) -> Iterator[Line]:
    """The texts of one span, without those it shares."""
    yield Line("name", span.name, fixed=True)
    yield Line("status", span.status_message, fixed=True)
    yield from _attribute_lines(span.attributes)
    for event in span.events:
        yield Line("event", event.name, fixed=True)
        yield from _attribute_lines(event.attributes)
    for link in span.links:
        yield from _attribute_lines(link.attributes)


def origin_lines(origin: Origin) -> Iterator[Line]:
    """The texts that spans share."""
    yield Line("scope", origin.scope_name, fixed=True)
    yield Line("version", origin.scope_version, fixed=True)
    yield from _attribute_lines(origin.resource)


def _attribute_lines(attributes: dict[str, AttributeValue]) -> Iterator[Line]:
    for key, value in attributes.items():
        if isinstance(value, str):
            yield Line(key, value)
        else:
            yield from _value_lines(key, value)


def _value_lines(key: str, value: AttributeValue) -> Iterator[Line]:
    """A line for the name itself, then one for each text inside."""
    yield Line(key, "")
    yield from _inner_lines(key, value)


def _inner_lines(key: str, value: AttributeValue) -> Iterator[Line]:
    if isinstance(value, str):
        yield Line(key, value, fixed=True)
    elif isinstance(value, list):
        for one in value:
            yield from _inner_lines(key, one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if isinstance(one, str):
                yield Line(name, one)
            else:
                yield from _value_lines(name, one)


# --- and back ------------------------------------------------------------------------------


def rewritten(span: RawSpan, new: Replacement, origin: Origin) -> RawSpan:
    """The span with the texts that ``new`` gives for ``lines(span)``."""
    name = next(new)[1]
    status_message = next(new)[1]
    return msgspec.structs.replace(
        span,
        name=name,
        status_message=status_message,
        attributes=_attributes(span.attributes, new),
        events=tuple(
            msgspec.structs.replace(
                event, name=next(new)[1], attributes=_attributes(event.attributes, new)
            )
            for event in span.events
        ),
        links=tuple(
            msgspec.structs.replace(link, attributes=_attributes(link.attributes, new))
            for link in span.links
        ),
        origin=origin,
    )


def rewritten_origin(origin: Origin, new: Replacement) -> Origin:
    """The origin with the texts that ``new`` gives for ``origin_lines(origin)``."""
    scope_name, scope_version = next(new)[1], next(new)[1]
    return Origin(_attributes(origin.resource, new), scope_name, scope_version)


def _attributes(
    attributes: dict[str, AttributeValue], new: Replacement
) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for value in attributes.values():
        key, text = next(new)
        found[key] = text if isinstance(value, str) else _value(value, new)
    return found


def _value(value: AttributeValue, new: Replacement) -> AttributeValue:
    if isinstance(value, str):
        return next(new)[1]
    if isinstance(value, list):
        return [_value(one, new) for one in value]
    if isinstance(value, dict):
        return _attributes(value, new)
    return value


def with_bytes(span: RawSpan, change: Callable[[bytes, str], bytes]) -> RawSpan:
    """The span with what ``change`` gives for its bytes and the name they stand under."""

    def visit(value: AttributeValue, name: str) -> AttributeValue:
        if isinstance(value, bytes):
            return change(value, name)
        if isinstance(value, list):
            return [visit(one, name) for one in value]
        if isinstance(value, dict):
            return all_of(value)
        return value

    def all_of(attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
        return {key: visit(value, key) for key, value in attributes.items()}

    replace = msgspec.structs.replace
    return replace(
        span,
        attributes=all_of(span.attributes),
        events=tuple(replace(e, attributes=all_of(e.attributes)) for e in span.events),
        links=tuple(replace(one, attributes=all_of(one.attributes)) for one in span.links),
        origin=replace(span.origin, resource=all_of(span.origin.resource)),
    )
