"""Reads multipart/form-data bodies (RFC 7578): uploads of files, images and audio."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from keylease.simulator.exchange import Refusal

_BOUNDARY: Final = re.compile(r'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
_NAME: Final = re.compile(r'[; ]name="([^"]*)"')
_FILE_NAME: Final = re.compile(r'filename="([^"]*)"')


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a form."""

    name: str
    file_name: str
    data: bytes


def read_parts(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a form by name; raises ``Refusal`` when the body is no such form."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise Refusal(400, "The body must be multipart/form-data.", kind="invalid_request_error")
    pieces = (b"\r\n" + body).split(b"\r\n--" + found[1].encode("latin-1"))
    if not pieces[-1].startswith(b"--"):
        raise Refusal(400, "The form does not end.", kind="invalid_request_error")
    parts: dict[str, Part] = {}
    for piece in pieces[1:-1]:
        head, separator, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        disposition = head.decode("utf-8", "replace")
        name = _NAME.search(disposition)
        if not separator or name is None:
            raise Refusal(400, "A part of the form has no name.", kind="invalid_request_error")
        file_name = _FILE_NAME.search(disposition)
        parts[name[1]] = Part(name=name[1], file_name=file_name[1] if file_name else "", data=data)
    return parts
