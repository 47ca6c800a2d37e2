"""Looks for a key in files, in the forms in which a key gets into files by accident.

Protects: nothing; it is evidence. Finds a key that is written plainly, in hex, URL-escaped, with
    JSON escapes, or in base64 at any of the three alignments, also inside gzip and zlib members.
Does not find: encrypted or otherwise compressed copies, and memory.
"""

from __future__ import annotations

import base64
import contextlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_MAGICS: Final = (b"\x1f\x8b\x08", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_MOST_UNPACKED: Final = 64 * 1024 * 1024


class Searched(msgspec.Struct, kw_only=True):
    """What a search looked at and found."""

    files: int = 0
    size: int = 0
    """Bytes."""
    hits: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """File and form."""
    unreadable: list[str] = msgspec.field(default_factory=list)
    """Files that could not be opened: the search proves nothing about them."""


def forms_of(key: bytes) -> dict[str, bytes]:
    """The byte strings to look for, by the name of their form."""
    forms = {
        "plain": key,
        "hex": key.hex().encode(),
        "hex, capitals": key.hex().upper().encode(),
        "URL-escaped": "".join(f"%{byte:02x}" for byte in key).encode(),
        "URL-escaped, capitals": "".join(f"%{byte:02X}" for byte in key).encode(),
        "JSON-escaped": "".join(f"\\u{byte:04x}" for byte in key).encode(),
        "UTF-16": key.decode("latin-1").encode("utf-16-le"),
    }
    for shift in range(3):
        # Without the characters that also depend on what stands before and after the key.
        whole = base64.b64encode(bytes(shift) + key)
        inner = whole[(0, 2, 3)[shift] : len(whole) - 4]
        forms[f"base64, alignment {shift}"] = inner
        forms[f"base64url, alignment {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return forms


def search(places: list[Path], key: bytes) -> Searched:
    """Read every regular file below ``places`` and report where the key is."""
    found = Searched()
    forms = forms_of(key)
    for place in places:
        for directory, _, names in os.walk(place, onerror=_refuse(found)):
            for name in names:
                path = Path(directory) / name
                if path.is_symlink() or not path.is_file():
                    continue  # sockets hold nothing; what a link points at is looked at elsewhere
                try:
                    content = path.read_bytes()
                except OSError:
                    found.unreadable.append(str(path))
                    continue
                found.files += 1
                found.size += len(content)
                haystacks = [content, *_unpacked(content)]
                found.hits += [
                    (str(path), form)
                    for form, needle in forms.items()
                    if any(needle in haystack for haystack in haystacks)
                ]
    return found


def _refuse(found: Searched) -> Callable[[OSError], None]:
    def note(error: OSError) -> None:
        found.unreadable.append(str(error.filename))

    return note


def _unpacked(content: bytes) -> list[bytes]:
    """What begins like a gzip or zlib stream anywhere in it, unpacked as far as it goes."""
    unpacked = []
    for magic in _MAGICS:
        start = content.find(magic)
        while start >= 0:
            with contextlib.suppress(zlib.error):
                unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
                unpacked.append(unpacker.decompress(content[start:], _MOST_UNPACKED))
            start = content.find(magic, start + 1)
    return unpacked
