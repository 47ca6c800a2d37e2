"""``google.rpc.Status`` in protobuf: how OTLP says what went wrong.

Three fields; a dependency for them would be larger than they are.
"""

from __future__ import annotations

from typing import Final

_RETRY_INFO: Final = b"type.googleapis.com/google.rpc.RetryInfo"


def rpc_status(code: int, message: str, *, retry_seconds: int = 0) -> bytes:
    """The message; with ``retry_seconds`` it says when to come again."""
    status = _field(1, code) + _field(2, message.encode())
    if retry_seconds:
        delay = _field(1, _field(1, retry_seconds))  # RetryInfo.retry_delay = Duration(seconds)
        status += _field(3, _field(1, _RETRY_INFO) + _field(2, delay))  # google.protobuf.Any
    return status


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes((number << 3,)) + _varint(value)
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits in each byte
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
