"""Reads one file of this machine: told by its content, in windows, archives opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from keylease.discovery.archives import Archives
from keylease.discovery.content import CODECS, UNSUPPORTED, Content, Transcoded, classify
from keylease.discovery.pieces import WINDOW, Piece, windows
from keylease.discovery.problems import Problems

_FIRST_READ: Final = 128 * 1024
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Reader:
    """Turns files into pieces, and counts what it met."""

    def __init__(self, problems: Problems, *, follow_links: bool = False) -> None:
        """``follow_links`` is for files that were asked for by name."""
        self._problems = problems
        self._flags = _OPEN & ~os.O_NOFOLLOW if follow_links else _OPEN
        self._archives = Archives(problems)
        self._binaries = 0
        self.files = 0
        self.bytes = 0

    @property
    def members(self) -> int:
        """Archive members that were read."""
        return self._archives.members

    @property
    def binaries(self) -> int:
        """Files and members that hold no text."""
        return self._binaries + self._archives.binaries

    def pieces(self, path: str) -> Iterator[Piece]:
        """What is to be looked at of a file. Never raises for the file's sake; it is noted."""
        try:
            descriptor = os.open(path, self._flags)
        except OSError as error:
            self._problems.failed(path, error)
            return
        except ValueError:  # a zero byte in a name that somebody handed in
            self._problems.add("read_error", path, "Its name is not valid.")
            return
        try:
            yield from self._opened(descriptor, path)
        except OSError as error:
            self._problems.failed(path, error)
        finally:
            os.close(descriptor)

    def _opened(self, descriptor: int, path: str) -> Iterator[Piece]:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return  # it was a file when its directory was read
        head = os.read(descriptor, _FIRST_READ)
        content = classify(head)
        if content is Content.BINARY or not head:
            self._binaries += content is Content.BINARY
            return
        self.files += 1
        self.bytes += status.st_size
        if content is Content.TEXT:
            if len(head) < _FIRST_READ:
                yield Piece(head, path)
            else:
                yield from windows(_Descriptor(descriptor), path, head)
        elif content is Content.UNSUPPORTED_ARCHIVE:
            self._problems.add("archive_unsupported", path, UNSUPPORTED)
        elif content in CODECS:
            os.lseek(descriptor, 0, os.SEEK_SET)
            yield from windows(Transcoded(_Descriptor(descriptor), content), path)
        else:
            os.lseek(descriptor, 0, os.SEEK_SET)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield from self._archives.pieces(file, path, content, status.st_size)


class _Descriptor:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int, /) -> bytes:
        return os.read(self._descriptor, min(size, WINDOW))
