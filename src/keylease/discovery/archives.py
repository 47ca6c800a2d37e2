"""Looking into archives and compressed files, within bounds.

Protects: against bombs. What comes out of one outer file is bounded in bytes, in members, in depth
    and in the memory that any step may take; the first bound that is reached ends that file.
Does not protect: time up to those bounds is spent.
Limits: zip (jar, whl, docx ...), tar, gzip, bzip2, xz, zstd, nested in any order. Encrypted members
    and other formats are reported, not read.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final, cast

from keylease.discovery.content import COMPRESSED, HEAD, Content, Transcoded, classify
from keylease.discovery.pieces import Piece, Readable, windows
from keylease.discovery.problems import Problems

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAXIMUM_DEPTH: Final = 4
MAXIMUM_MEMBERS: Final = 100_000
MAXIMUM_BYTES: Final = 1024 * 1024 * 1024
"""Bytes that may come out of one outer file, at all depths together."""
EXPANSION: Final = 200
"""... and how many times its own size, beyond ``FREE_BYTES``."""
FREE_BYTES: Final = 64 * 1024 * 1024
MAXIMUM_NESTED_ZIP: Final = 32 * 1024 * 1024
"""A zip in an archive is held in memory, because its directory stands at its end."""
_MAXIMUM_DIRECTORY: Final = 12 * 1024 * 1024
"""Bytes of a zip's central directory, which zipfile reads at once."""
_XZ_MEMORY: Final = 96 * 1024 * 1024
_ZSTD_WINDOW: Final = 27
"""Binary logarithm of the largest window, which is held in memory: 128 MB, all that `zstd` itself
reads without being told to."""
_SINGLE_READ: Final = 16 * 1024 * 1024
_STEP: Final = 256 * 1024
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_END_BYTES: Final = 22
_ZIP_COMMENT: Final = 65_535
_MAXIMUM_NAME: Final = 1024
_ZIP64_END: Final = b"PK\x06\x06"
_ENCRYPTED: Final = 0x1
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""zipfile unpacks the others without a bound on what one step gives."""
_BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    zstd.ZstdError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
)
"""What the standard library raises for archives that are damaged or of an unknown kind."""


class BoundReached(Exception):
    """An archive holds more than is read."""


class Budget:
    """What may still come out of one outer file."""

    def __init__(self, outer_bytes: int) -> None:
        self._bytes = min(MAXIMUM_BYTES, FREE_BYTES + EXPANSION * outer_bytes)
        self._members = MAXIMUM_MEMBERS

    def take(self, count: int) -> None:
        """Raise ``BoundReached`` when that was too much."""
        self._bytes -= count
        if self._bytes < 0:
            raise BoundReached

    def member(self) -> None:
        """Another member is opened."""
        self._members -= 1
        if self._members < 0:
            raise BoundReached


class Archives:
    """Opens archives; ``members`` and ``binaries`` count what was met."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.members = 0
        self.binaries = 0

    def pieces(self, file: IO[bytes], path: str, content: Content, size: int) -> Iterator[Piece]:
        """What is in an archive file. Never raises for what is wrong with it; it is noted."""
        budget = Budget(size)
        try:
            yield from self._inside(file, path, content, budget, depth=1)
        except BoundReached:
            self._problems.add("archive_bound", path, "It holds more than is read of an archive.")

    def _inside(
        self, file: IO[bytes], path: str, content: Content, budget: Budget, *, depth: int
    ) -> Iterator[Piece]:
        if depth > MAXIMUM_DEPTH:
            self._problems.add("archive_bound", path, "Its archives nest too deeply.")
            return
        try:
            if content is Content.ZIP:
                yield from self._zip(file, path, budget, depth)
            elif content is Content.TAR:
                yield from self._tar(Forward(file), path, budget, depth)
            else:
                yield from self._compressed(file, path, content, budget, depth)
        except _BROKEN:
            self._problems.add("archive_corrupt", path, "It is damaged, or of an unknown kind.")
        except OSError as error:
            reason = f"{os.strerror(error.errno)}." if error.errno else "It is damaged."
            self._problems.add("archive_corrupt", path, reason)

    def _zip(self, file: IO[bytes], path: str, budget: Budget, depth: int) -> Iterator[Piece]:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                budget.member()
                inner = f"{path}!/{_shown(member.filename)}"
                if member.flag_bits & _ENCRYPTED:
                    self._problems.add("archive_encrypted", path, "It has encrypted members.")
                    continue
                if member.compress_type not in _METHODS:
                    self._problems.add("archive_unsupported", inner, "Its compression is unknown.")
                    continue
                try:
                    with archive.open(member) as stream:
                        yield from self._member(_Metered(stream, budget), inner, budget, depth)
                except _BROKEN:
                    self._problems.add("archive_corrupt", inner, "This member is damaged.")

    def _tar(self, stream: Forward, path: str, budget: Budget, depth: int) -> Iterator[Piece]:
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:", errorlevel=0) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # documented nowhere, and it would grow
                budget.member()
                if not member.isreg():
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    inner = f"{path}!/{_shown(member.name)}"
                    yield from self._member(content, inner, budget, depth)

    def _compressed(
        self, file: IO[bytes], path: str, content: Content, budget: Budget, depth: int
    ) -> Iterator[Piece]:
        stream = Forward(_Metered(Inflated(file, content), budget))
        head = stream.peek(HEAD)
        if classify(head) is Content.TAR:
            yield from self._tar(stream, path, budget, depth)
        else:
            yield from self._member(stream, path, budget, depth)

    def _member(self, stream: Readable, path: str, budget: Budget, depth: int) -> Iterator[Piece]:
        self.members += 1
        forward = stream if isinstance(stream, Forward) else Forward(stream)
        kind = classify(forward.peek(HEAD))
        if kind is Content.TEXT:
            yield from windows(forward, path)
        elif kind in {Content.BINARY, Content.UNSUPPORTED_ARCHIVE}:
            self.binaries += 1
        elif kind is Content.ZIP:
            yield from self._inside(_whole(forward), path, kind, budget, depth=depth + 1)
        elif kind is Content.TAR or kind in COMPRESSED:
            # It reads, seeks forwards and tells, which is all that is asked of it.
            file = cast("IO[bytes]", forward)
            yield from self._inside(file, path, kind, budget, depth=depth + 1)
        else:
            yield from windows(Transcoded(forward, kind), path)


class Forward:
    """A stream that is read forwards: ``seek`` skips, ``peek`` looks ahead. For tarfile."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._ahead = b""
        self._position = 0

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end, which ``read`` will give again."""
        while len(self._ahead) < size:
            part = self._stream.read(size - len(self._ahead))
            if not part:
                break
            self._ahead += part
        return self._ahead[:size]

    def read(self, size: int = -1, /) -> bytes:
        """Exactly ``size`` bytes, or fewer at the end."""
        if not 0 <= size <= _SINGLE_READ:
            raise BoundReached  # a header of a tar that claims to be larger than any is
        parts = [self._ahead[:size]]
        left = size - len(parts[0])
        self._ahead = self._ahead[size:]
        while left:
            part = self._stream.read(min(left, _STEP))
            if not part:
                break
            parts.append(part)
            left -= len(part)
        self._position += size - left
        return b"".join(parts)

    def tell(self) -> int:
        """Bytes read or skipped since the start."""
        return self._position

    def seek(self, position: int) -> int:
        """Skip forwards."""
        if position < self._position:
            raise tarfile.StreamError("It would have to be read backwards.")
        while self._position < position:
            if not self.read(min(position - self._position, _STEP)):
                break
        return self._position


class Inflated:
    """A gzip, bzip2, xz or zstd file as what is in it, a bounded amount at a time."""

    def __init__(self, file: Readable, content: Content) -> None:
        self._file = file
        self._content = content
        self._pending = b""
        self._decompressor = self._new()
        self._begun = False

    def _new(
        self,
    ) -> _Gzip | bz2.BZ2Decompressor | lzma.LZMADecompressor | zstd.ZstdDecompressor:
        if self._content is Content.GZIP:
            return _Gzip()
        if self._content is Content.BZIP2:
            return bz2.BZ2Decompressor()
        if self._content is Content.ZSTD:
            return zstd.ZstdDecompressor(
                options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
            )
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end. Raises what the decompressors raise."""
        while True:
            if self._decompressor.eof:
                # Members may follow one another; what is no member is padding.
                self._pending = self._decompressor.unused_data or self._file.read(_STEP)
                if not self._pending.strip(b"\0"):
                    return b""
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not self._pending:
                self._pending = self._file.read(_STEP)
                if not self._pending:
                    raise EOFError("It ends too early.")
            data, self._pending = self._pending, b""
            part = self._decompressor.decompress(data, size)
            if part:
                return part


class _Gzip:
    """zlib's decompressor with the manners of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._tail = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        part = self._inner.decompress(self._tail + data, max(max_length, 1))
        self._tail = self._inner.unconsumed_tail
        return part


class _Metered:
    """Counts what comes out against the budget."""

    def __init__(self, stream: Readable, budget: Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int, /) -> bytes:
        part = self._stream.read(min(size, _STEP))
        self._budget.take(len(part))
        return part


def _whole(stream: Readable) -> io.BytesIO:
    whole = io.BytesIO()
    while part := stream.read(_STEP):
        if whole.write(part) and whole.tell() > MAXIMUM_NESTED_ZIP:
            raise BoundReached
    whole.seek(0)
    return whole


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a zip whose directory would not fit into memory, before zipfile reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_COMMENT - _ZIP_END_BYTES - 128))
    tail = file.read()
    end, long_end = tail.rfind(_ZIP_END), tail.rfind(_ZIP64_END)
    if end < 0 or len(tail) - end < _ZIP_END_BYTES:
        raise zipfile.BadZipFile
    (directory,) = struct.unpack_from("<L", tail, end + 12)
    if long_end >= 0 and len(tail) - long_end >= 48:  # noqa: PLR2004 - up to the directory's size
        (directory,) = struct.unpack_from("<Q", tail, long_end + 40)
    if directory > _MAXIMUM_DIRECTORY:
        raise BoundReached
    file.seek(0)


def _shown(name: str) -> str:
    return name[:_MAXIMUM_NAME]
