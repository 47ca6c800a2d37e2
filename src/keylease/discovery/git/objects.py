"""Objects of a repository: which there are, and what is in them.

One ``git cat-file --batch`` for each process reads them. It ends at a damaged object; then that one
is noted and the rest goes on with another.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from keylease.discovery.archives import MAXIMUM_NESTED_ZIP, Archives
from keylease.discovery.content import CODECS, HEAD, UNSUPPORTED, Content, Transcoded, classify
from keylease.discovery.git.command import Git
from keylease.discovery.pieces import WINDOW, Piece, windows
from keylease.discovery.problems import Problems

_STEP: Final = 1024 * 1024
_PIPE_BYTES: Final = 1024 * 1024
_HEADER_FIELDS: Final = 3


class GitObject(msgspec.Struct, frozen=True, array_like=True):
    """A blob, commit or tag, and a path under which a blob was met."""

    oid: str
    type: str
    path: bytes = b""


class ObjectReader:
    """Reads objects of one repository. Close it when done."""

    def __init__(self, git: Git, directory: Path, problems: Problems) -> None:
        self._git = git
        self.directory = directory
        self._problems = problems
        self._archives = Archives(problems)
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the git process."""
        self._stack.close()
        self._process = None

    def read(
        self, objects: Sequence[GitObject], prefix: str
    ) -> Iterator[tuple[GitObject, Iterator[Piece]]]:
        """Each object with what is to be looked at of it, which must be read before the next.

        ``prefix`` is put before each path; it ends with a slash.
        """
        at = 0
        while at < len(objects):
            process = self._running()
            if process.stdin is None or process.stdout is None:  # pragma: no cover - always pipes
                return
            try:
                process.stdin.write(b"".join(o.oid.encode() + b"\n" for o in objects[at:]))
                process.stdin.flush()
            except OSError:
                pass  # it has ended; what it could not answer is noted below
            for item in objects[at:]:
                at += 1
                header = process.stdout.readline().split()
                if not header:
                    self._note(item, "It is damaged, and git gave up at it.")
                    self.close()
                    break
                if len(header) != _HEADER_FIELDS:
                    self._note(item, "It is missing, or cannot be read.")
                    continue
                size = int(header[2])
                body = _Body(process.stdout, size)
                yield item, self._pieces(item, body, size, prefix)
                if not body.finish():
                    self._note(item, "It is damaged, and git gave up at it.")
                    self.close()
                    break

    def _pieces(self, item: GitObject, body: _Body, size: int, prefix: str) -> Iterator[Piece]:
        path = prefix + item.path.decode("utf-8", errors="surrogateescape")
        head = body.read(min(size, HEAD))
        content = classify(head)
        if content is Content.TEXT:
            if size <= WINDOW:
                yield Piece(head + body.read(size), path)
            else:
                yield from windows(body, path, head)
        elif content in CODECS:
            yield from windows(Transcoded(_Prefixed(head, body), content), path)
        elif content is Content.UNSUPPORTED_ARCHIVE:
            self._problems.add("archive_unsupported", path, UNSUPPORTED)
        elif content is not Content.BINARY:
            if size > MAXIMUM_NESTED_ZIP:
                self._problems.add("archive_bound", path, "It is too large to be opened in git.")
                return
            whole = io.BytesIO(head + body.read(size))
            yield from self._archives.pieces(whole, path, content, size)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = self._stack.enter_context(
                self._git.piped(self.directory, "cat-file", "--batch", input_wanted=True)
            )
            if self._process.stdout is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
                with contextlib.suppress(OSError):  # above the system's bound: it stays small
                    # So that git reads ahead while we look.
                    fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self._process

    def _note(self, item: GitObject, message: str) -> None:
        self._problems.add("git_object", f"{self.directory}: {item.type} {item.oid}", message)


class _Body:
    """The content of one object on cat-file's output; never reads past it."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size
        self._broken = False

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        self._broken = not data and self._left > 0
        return data

    def finish(self) -> bool:
        """Skip the rest; False when the stream ended before the object did."""
        while self._left and not self._broken:
            self.read(_STEP)
        return not self._broken and self._stream.read(1) == b"\n"


class _Prefixed:
    def __init__(self, head: bytes, body: _Body) -> None:
        self._head = head
        self._body = body

    def read(self, size: int, /) -> bytes:
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._body.read(size)
