"""The form of an upload, read while it passes.

Protects: what the provider takes for the form's ``purpose`` and for its file is what was looked at
    here; the lines of a batch's input file are all checked before the provider has the end of the
    form, so a file with one bad line never comes to be.
Does not protect: against anything in files of other purposes; nobody but the caller's own calls
    can refer to them.
Limits: a field ``purpose`` behind its file comes too late to check a batch's file, and is refused.
    What is held back is a part's head, the boundary's length, and the end of the form.
"""

from __future__ import annotations

from typing import Final, Protocol

from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.call.forms import (
    MAXIMUM_PARTS,
    form_boundary,
    form_text,
    part_name,
)

_BATCH: Final = "batch"
_PLAIN: Final = (b"purpose",)
_READ: Final = (b"purpose", b"file")
"""Fields that are looked at."""
_MAXIMUM_PART_HEAD: Final = 4 * 1024
_MAXIMUM_PURPOSE: Final = 256
_MAXIMUM_END: Final = 16
"""Bytes behind the last boundary: line breaks, if anything."""

_AT_DELIMITER: Final = 0
_IN_HEAD: Final = 1
_IN_CONTENT: Final = 2
_AT_END: Final = 3


class FileReader(Protocol):
    """Takes the content of a file; ``BatchLines`` is one."""

    __slots__ = ()

    def feed(self, data: bytes) -> None:
        """The next bytes; raises ``RequestMalformed`` or ``AccessDenied``."""
        ...

    def finish(self) -> None:
        """The file is whole; raises the same."""
        ...


class UploadForm:
    """Give it the body piece by piece, and send on what it gives back."""

    __slots__ = (
        "_batch_file", "_delimiter", "_held", "_name", "_parts", "_purpose", "_seen", "_state",
        "is_batch",
    )  # fmt: skip

    def __init__(self, content_type: str, batch_file: FileReader) -> None:
        """``batch_file`` gets the content of the form's file if that is a batch's input."""
        self._delimiter = b"\r\n--" + form_boundary(content_type)
        self._held = b""
        self._state = _AT_DELIMITER
        self._name = b""
        """Of the part whose content is read."""
        self._seen: set[bytes] = set()
        self._parts = 0
        self._purpose: bytes | None = None
        self._batch_file = batch_file
        self.is_batch = False
        """The form's file is a batch's input."""

    def feed(self, data: bytes) -> bytes:
        """What may pass now; raises ``RequestMalformed`` or ``AccessDenied``."""
        if self._held:
            data = self._held + data
        position = 0
        following = 0
        while following >= 0:
            position = following
            if self._state == _IN_CONTENT:
                following = self._read_content(data, position)
            elif self._state == _AT_DELIMITER:
                following = self._read_delimiter(data, position)
            elif self._state == _IN_HEAD:
                following = self._read_head(data, position)
            else:
                break
        if self._state == _IN_CONTENT:
            # All but an end that could be the beginning of the delimiter.
            safe = max(position, len(data) - len(self._delimiter) + 1)
            self._content(data[position:safe])
            position = safe
        self._held = data[position:]
        if self._state == _AT_END and len(self._held) > len(self._delimiter) + 2 + _MAXIMUM_END:
            raise RequestMalformed("There is something behind the end of the form.")
        return data[:position]

    def finish(self) -> bytes:
        """The rest of the form, once the body is whole; raises ``RequestMalformed``."""
        held = self._held
        self._held = b""
        if self._state != _AT_END:
            raise RequestMalformed("The form does not end with its boundary.")
        first = 0 if held.startswith(b"\r") else 2
        if held[len(self._delimiter) + 2 - first :].strip(b"\r\n"):
            raise RequestMalformed("There is something behind the end of the form.")
        if self.is_batch:
            self._batch_file.finish()
        return held

    # Each reads on from ``position`` and gives the position behind what it read, or -1 when it
    # needs more bytes.

    def _read_delimiter(self, data: bytes, position: int) -> int:
        # The form begins with its boundary; everywhere else a line break belongs to it.
        delimiter = self._delimiter if self._name else self._delimiter[2:]
        end = position + len(delimiter)
        if len(data) < end + 2:
            if not delimiter.startswith(data[position:end]):
                raise RequestMalformed("The form does not begin with its boundary.")
            return -1
        if data[position:end] != delimiter:
            raise RequestMalformed("The form does not begin with its boundary.")
        mark = data[end : end + 2]
        if mark == b"--":
            self._state = _AT_END
            return -1
        if mark != b"\r\n":
            raise RequestMalformed("The form's parts are not well formed.")
        self._state = _IN_HEAD
        return end + 2

    def _read_head(self, data: bytes, position: int) -> int:
        end = data.find(b"\r\n\r\n", position)
        if end < 0:
            if len(data) - position > _MAXIMUM_PART_HEAD:
                raise RequestMalformed("The head of a part of the form is too long.")
            return -1
        name = self._name = part_name(data[position:end], plain=_PLAIN)
        if name in _READ:
            if name in self._seen:
                raise RequestMalformed(f"The form has two fields '{name.decode()}'.")
        elif name.strip().lower().removesuffix(b"[]") in _READ:
            raise RequestMalformed("A field of the form has an ambiguous name.")
        self._seen.add(name)
        self._parts += 1
        if self._parts > MAXIMUM_PARTS:
            raise RequestMalformed(f"The form has more than {MAXIMUM_PARTS} parts.")
        if name == b"purpose":
            self._purpose = b""
        elif name == b"file" and self._purpose == _BATCH.encode():
            self.is_batch = True
        self._state = _IN_CONTENT
        return end + 4

    def _read_content(self, data: bytes, position: int) -> int:
        end = data.find(self._delimiter, position)
        if end < 0:
            return -1
        self._content(data[position:end])
        if self._name == b"purpose":
            self._purpose_read()
        self._state = _AT_DELIMITER
        return end

    def _content(self, data: bytes) -> None:
        if self._name == b"purpose" and self._purpose is not None:
            self._purpose += data
            if len(self._purpose) > _MAXIMUM_PURPOSE:
                raise RequestMalformed("The field 'purpose' of the form is too long.")
        elif self._name == b"file" and self.is_batch:
            self._batch_file.feed(data)

    def _purpose_read(self) -> None:
        if form_text(self._purpose or b"") == _BATCH and b"file" in self._seen:
            raise RequestMalformed(
                "The form's file comes before its purpose, so its lines could not be checked.",
                advice="Send the field 'purpose' before the field 'file'.",
            )
