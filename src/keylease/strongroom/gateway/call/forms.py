"""Multipart forms, read by the letter (RFC 7578, RFC 2046 section 5.1).

Protects: every part must have the plain form that HTTP clients write, so that no other reader of
    the same bytes finds another field in it.
Does not protect: against anything in fields that no decision depends on.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.errors import RequestMalformed

_BOUNDARY: Final = re.compile(
    r"multipart/form-data\s*;\s*boundary="
    r"(?:\"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\"|([0-9A-Za-z'+_.-]{1,70}))"
    r"\s*(?:;\s*charset=[\w-]+\s*)?",
    re.IGNORECASE,
)
"""RFC 2046 section 5.1.1: no space at the end, which some readers cut off. Without quotes a token:
some readers stop at what is none."""
_DISPOSITION: Final = re.compile(
    rb'form-data; *name="([^"\\\r\n]{1,128})"((?:; *filename="[^"\\\r\n]*")?'
    rb"(?:; *filename\*=[Uu][Tt][Ff]-8''[^\s;\"]*)?)",
)
MAXIMUM_PARTS: Final = 256
"""More than any operation has fields and files for."""
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_FIELDS: Final = (b"model", b"stream", b"n")
"""Fields that are looked at."""


class FormBody:
    """A multipart form of which three fields matter: ``model``, ``stream`` and ``n``.

    Every part must have the plain form that HTTP clients write, so that no other reader of the
    same bytes finds another model in it.
    """

    __slots__ = ("_boundary", "_model_span", "choices", "data", "model", "streamed")

    def __init__(self, data: bytes, content_type: str) -> None:
        """Check ``data``; raises ``RequestMalformed``."""
        boundary = form_boundary(content_type)
        self.data = data
        self.model = ""
        self.streamed = False
        self.choices: int | None = None
        """The field ``n``: how many answers are asked for."""
        self._boundary = boundary
        self._model_span: tuple[int, int] | None = None
        seen: set[bytes] = set()
        for name, start, end in _parts(data, boundary):
            if name in _FIELDS:
                if name in seen:
                    raise RequestMalformed(f"The form has two fields '{name.decode()}'.")
                text = form_text(data[start:end])
                if name == b"model":
                    self._model_span = (start, end)
                    self.model = text
                elif name == b"stream":
                    self.streamed = text.lower() in ("true", "1")
                else:
                    self.choices = _form_number(text)
            elif name.strip().lower().removesuffix(b"[]") in _FIELDS:
                raise RequestMalformed("A field of the form has an ambiguous name.")
            seen.add(name)

    def rewritten(self, *, model: str) -> bytes:
        """The form with another model."""
        if not model or model == self.model:
            return self.data
        if self._model_span is None:
            part = b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % (
                self._boundary,
                model.encode(),
            )
            return part + self.data
        start, end = self._model_span
        return self.data[:start] + model.encode() + self.data[end:]


def form_boundary(content_type: str) -> bytes:
    """The boundary of a multipart form; refuses content types that could be read in two ways."""
    found = _BOUNDARY.fullmatch(content_type.strip())
    if found is None:
        raise RequestMalformed("The Content-Type is no multipart/form-data with a boundary.")
    return (found[1] or found[2]).encode()


def form_text(value: bytes) -> str:
    """The content of a short field."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise RequestMalformed("A field of the form is not UTF-8.") from error
    if not text or len(text) > 256 or not text.isprintable():  # noqa: PLR2004 - no provider has longer names
        raise RequestMalformed("A field of the form is empty or too long.")
    return text


def _form_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise RequestMalformed("The field 'n' of the form is no small number.")
    return int(text)


def _parts(data: bytes, boundary: bytes) -> list[tuple[bytes, int, int]]:
    """Name, start and end of every part's content (RFC 7578, RFC 2046 section 5.1.1)."""
    delimiter = b"\r\n--" + boundary
    if not data.startswith(delimiter[2:]):
        raise RequestMalformed("The form does not begin with its boundary.")
    parts: list[tuple[bytes, int, int]] = []
    position = len(delimiter) - 2
    while True:
        if data.startswith(b"--", position):
            if data[position + 2 :].strip(b"\r\n"):
                raise RequestMalformed("There is something behind the end of the form.")
            return parts
        head_end = data.find(b"\r\n\r\n", position)
        if not data.startswith(b"\r\n", position) or head_end < position + 2:
            raise RequestMalformed("The form's parts are not well formed.")
        name = part_name(data[position + 2 : head_end], plain=_FIELDS)
        start = head_end + 4
        end = data.find(delimiter, start)
        if end < 0:
            raise RequestMalformed("The form does not end with its boundary.")
        parts.append((name, start, end))
        if len(parts) > MAXIMUM_PARTS:
            raise RequestMalformed(f"The form has more than {MAXIMUM_PARTS} parts.")
        position = end + len(delimiter)


def part_name(head: bytes, *, plain: tuple[bytes, ...]) -> bytes:
    """The name in the head of a part; ``plain`` fields must not be files."""
    name: bytes | None = None
    for line in head.split(b"\r\n"):
        key, colon, value = line.partition(b":")
        lowered = key.lower()
        if not colon or b"\n" in line or b"\r" in line or b"\0" in line:
            raise RequestMalformed("A header of a part of the form is not well formed.")
        if lowered == b"content-disposition":
            found = _DISPOSITION.fullmatch(value.strip())
            if found is None or name is not None:
                raise RequestMalformed("A part of the form has no plain Content-Disposition.")
            name = found[1]
            if found[2] and name in plain:
                raise RequestMalformed(f"The field '{name.decode()}' of the form is a file.")
        elif lowered == b"content-transfer-encoding":
            if value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
                raise RequestMalformed("A part of the form is encoded.")
        elif lowered not in (b"content-type", b"content-length"):
            raise RequestMalformed("A part of the form has a header that is not expected.")
    if name is None:
        raise RequestMalformed("A part of the form has no name.")
    return name
