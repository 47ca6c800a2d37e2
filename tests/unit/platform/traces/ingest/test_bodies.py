"""Compressed bodies: whole, of several parts, broken, and larger than they look."""

from __future__ import annotations

import gzip

import pytest
from backports import zstd

from keylease.errors import SpansMalformed, SpansTooLarge
from keylease.platform.traces.ingest.bodies import decompressed

CONTENT = b"spans " * 1000


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("", CONTENT),
        ("identity", CONTENT),
        ("gzip", gzip.compress(CONTENT, mtime=0)),
        ("GZIP", gzip.compress(CONTENT[:3000], mtime=0) + gzip.compress(CONTENT[3000:], mtime=0)),
        ("zstd", zstd.compress(CONTENT)),
        ("zstd", zstd.compress(CONTENT[:3000]) + zstd.compress(CONTENT[3000:])),
    ],
)
def test_content_is_found_again(name: str, body: bytes) -> None:
    assert decompressed(body, name, maximum=len(CONTENT)) == CONTENT
    with pytest.raises(SpansTooLarge):
        decompressed(body, name, maximum=len(CONTENT) - 1)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_what_was_cut_off_or_spoilt_is_refused(name: str) -> None:
    whole = gzip.compress(CONTENT) if name == "gzip" else zstd.compress(CONTENT)
    for body in (whole[:-3], whole[: len(whole) // 2], b"\x00" + whole, whole + b"tail"):
        with pytest.raises(SpansMalformed):
            decompressed(body, name, maximum=10**6)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(SpansMalformed, match="compressed"):
        decompressed(CONTENT, "br", maximum=10**6)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_bomb_is_never_unpacked(name: str) -> None:
    zeros = b"\0" * 50_000_000
    bomb = gzip.compress(zeros) if name == "gzip" else zstd.compress(zeros)
    with pytest.raises(SpansTooLarge):
        decompressed(bomb, name, maximum=1_000_000)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_streams_behind_each_other_are_few(name: str) -> None:
    empty = gzip.compress(b"", mtime=0) if name == "gzip" else zstd.compress(b"")
    some = gzip.compress(CONTENT) if name == "gzip" else zstd.compress(CONTENT)
    assert decompressed(empty * 99 + some, name, maximum=10**6) == CONTENT
    with pytest.raises(SpansMalformed):
        decompressed(empty * 100 + some, name, maximum=10**6)
