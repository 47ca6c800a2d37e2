"""How many messages a body holds, counted before any of them is made.

Protects: an empty message takes two or three bytes of a body, a thousandth of that when it is
    compressed, but a hundred and more of memory and microseconds of time once it is made. A body
    with more of them than spans could need is refused while it is still bytes.
Does not protect: a body of few messages with much in them has other bounds (``limits``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|\{', re.DOTALL)
_TEXTS_FOR_EACH: Final = 8
"""Texts that a body may have for each message it may have."""
_LENGTH_DELIMITED: Final = 2
_SKIPPED: Final = {1: 8, 5: 4}
"""Wire types of fixed length -> bytes."""
_MORE: Final = 0x80
Fields = Mapping[int, str]
"""Number of a field -> full name of the message that it holds."""


def is_too_many_in_json(body: bytes, most: int) -> bool:
    """Whether a body has more than ``most`` objects; braces within texts are none."""
    if body.count(b"{") <= most:
        return False
    objects = texts = 0
    for token in _TOKEN.finditer(body):
        if token.end() - token.start() > 1:
            texts += 1
        else:
            objects += 1
        if objects > most or texts > most * _TEXTS_FOR_EACH:
            return True
    return False


def is_too_many_in_protobuf(body: bytes, most: int) -> bool:
    """Whether an OTLP body has more than ``most`` messages, texts and groups.

    What cannot be read is left to the parser, which reads the same way and refuses it.
    """
    if len(body) <= 2 * most:  # each takes two bytes at least
        return False
    try:
        return _counted(body, most) > most
    except IndexError:
        return False


def _counted(body: bytes, most: int) -> int:
    """How many there are; stops behind ``most``. Raises ``IndexError`` when the body ends early."""
    count, position, end = 0, 0, len(body)
    fields = _fields()[ExportTraceServiceRequest.DESCRIPTOR.full_name]
    above: list[tuple[int, Fields]] = []
    while count <= most:
        if position >= end:
            if not above:
                break
            end, fields = above.pop()
            continue
        tag, position = _number(body, position)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            size, position = _number(body, position)
            count += 1
            inner = fields.get(tag >> 3)
            if inner is None:
                position += size
            else:
                above.append((end, fields))
                end, fields = position + size, _fields()[inner]
        elif kind == 0:
            _, position = _number(body, position)
        elif kind in _SKIPPED:
            position += _SKIPPED[kind]
        else:  # groups: OTLP has none, and what is in them would not be counted
            return most + 1
    return count


def _number(body: bytes, position: int) -> tuple[int, int]:
    """A varint, and the place behind it."""
    value = body[position]
    position += 1
    if value < _MORE:
        return value, position
    value &= _MORE - 1
    shift = 7
    while True:
        part = body[position]
        position += 1
        value |= (part & (_MORE - 1)) << shift
        if part < _MORE:
            return value, position
        shift += 7


@functools.cache
def _fields() -> Mapping[str, Fields]:
    """The messages of an export and which of their fields hold messages."""
    found: dict[str, Fields] = {}
    waiting: list[Any] = [ExportTraceServiceRequest.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            inner = [field for field in message.fields if field.message_type is not None]
            found[message.full_name] = {
                field.number: field.message_type.full_name for field in inner
            }
            waiting += [field.message_type for field in inner]
    return found
