from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from keylease.discovery.content import Content, Transcoded, classify


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (b"plain text\n", Content.TEXT),
        ("schlüssel=ä".encode(), Content.TEXT),
        ("latin=\xe4".encode("latin-1"), Content.TEXT),
        (b"\x7fELF\x02\x01\x01\x00\x00", Content.BINARY),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", Content.BINARY),
        ("KEY=value\n".encode("utf-16"), Content.UTF_16_LE),
        ("KEY=value\n".encode("utf-16-le"), Content.UTF_16_LE),
        ("KEY=value\n".encode("utf-16-be"), Content.UTF_16_BE),
        ("KEY=value\n".encode("utf-32"), Content.UTF_32_LE),
        (b"PK\x03\x04....", Content.ZIP),
        (gzip.compress(b"x", mtime=0), Content.GZIP),
        (bz2.compress(b"x"), Content.BZIP2),
        (lzma.compress(b"x"), Content.XZ),
        (b"\x28\xb5\x2f\xfd\x00\x00", Content.ZSTD),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", Content.UNSUPPORTED_ARCHIVE),
        (b"Rar!\x1a\x07\x01\x00", Content.UNSUPPORTED_ARCHIVE),
        (b"SQLite format 3\x00\x10\x00", Content.TEXT),
    ],
)
def test_content_is_told_from_the_first_bytes(head: bytes, content: Content) -> None:
    assert classify(head) is content


def test_a_tar_is_told_from_its_header() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    assert classify(file.getvalue()) is Content.TAR


@pytest.mark.parametrize("content", [Content.UTF_16_LE, Content.UTF_32_BE])
def test_wide_text_becomes_utf8_piece_by_piece(content: Content) -> None:
    codec = {Content.UTF_16_LE: "utf-16-le", Content.UTF_32_BE: "utf-32-be"}[content]
    text = "schlüssel = 🔑 " * 50
    stream = Transcoded(io.BytesIO(text.encode(codec) + b"\xff"), content)
    parts = []
    while part := stream.read(7):
        parts.append(part)
    assert b"".join(parts).decode().startswith(text)
