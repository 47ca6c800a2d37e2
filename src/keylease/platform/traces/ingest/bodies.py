"""Bodies as they arrive become bodies as they were meant, and no larger than allowed.

Protects: against a small body that decompresses into gigabytes: what is beyond the limit is never
    made, whatever the frame's header says; and against one of a million empty streams behind each
    other, of which each costs a copy of all that follow.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from typing import Any, Final

from keylease.errors import SpansMalformed, SpansTooLarge

_GZIP: Final = 31
"""Window bits of zlib that mean one gzip stream (RFC 1952)."""
_MOST_STREAMS: Final = 100
"""Behind each other in one body; senders make one."""
ENCODINGS: Final = ("identity", "gzip", "zstd")


def decompressed(body: bytes, content_encoding: str, *, maximum: int) -> bytes:
    """The content of a body. Raises ``SpansMalformed`` and ``SpansTooLarge``."""
    name = content_encoding.strip().lower()
    if name in {"", "identity"}:
        content = body
    elif name in {"gzip", "x-gzip"}:
        content = _gzip(body, maximum)
    elif name == "zstd":
        content = _zstd(body, maximum)
    else:
        raise SpansMalformed(
            "The body is compressed in a way that is not known here.",
            advice="Send it with Content-Encoding gzip or zstd, or as it is.",
        )
    if len(content) > maximum:
        raise _too_large(maximum)
    return content


def _gzip(body: bytes, maximum: int) -> bytes:
    """One or more members, as gzip allows."""
    parts: list[bytes] = []
    size = 0
    try:
        while body:
            stream = zlib.decompressobj(wbits=_GZIP)
            part = stream.decompress(body, maximum + 1 - size)
            size += len(part)
            if size > maximum or stream.unconsumed_tail:
                raise _too_large(maximum)
            if not stream.eof or len(parts) >= _MOST_STREAMS:
                raise _broken("gzip")
            parts.append(part)
            body = stream.unused_data
    except zlib.error:
        raise _broken("gzip") from None
    return b"".join(parts)


def _zstd(body: bytes, maximum: int) -> bytes:
    """One or more frames (RFC 8878)."""
    zstd = _library()
    parts: list[bytes] = []
    size = 0
    options = {zstd.DecompressionParameter.window_log_max: 27}  # 128 MB, as zstd itself bounds it
    try:
        while body:
            stream = zstd.ZstdDecompressor(options=options)
            part = stream.decompress(body, maximum + 1 - size)
            size += len(part)
            if size > maximum:
                raise _too_large(maximum)
            if len(parts) >= _MOST_STREAMS:
                raise _broken("zstd")
            if not stream.eof:
                raise _broken("zstd") if stream.needs_input else _too_large(maximum)
            parts.append(part)
            body = stream.unused_data
    except zstd.ZstdError:
        raise _broken("zstd") from None
    return b"".join(parts)


def _library() -> Any:  # noqa: ANN401 - one of two modules of the same shape
    """The standard library's since Python 3.14, before that its backport."""
    return importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )


def _broken(what: str) -> SpansMalformed:
    return SpansMalformed(f"The body is not whole {what}.", advice="Nothing of it was taken.")


def _too_large(maximum: int) -> SpansTooLarge:
    return SpansTooLarge(
        f"The body has more than {maximum} bytes when it is decompressed.",
        advice="Send fewer spans in a request: OTEL_BSP_MAX_EXPORT_BATCH_SIZE, for example.",
    )
