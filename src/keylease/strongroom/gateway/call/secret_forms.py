r"""The forms in which a secret comes back: as it is, and as programs write text into text.

JSON writers escape more or less of a text's punctuation, URLs percent-encode it, and base64 depends
on what stands in front. A key of letters, digits, ``-`` and ``_`` looks the same in all but base64.

Limits: what other characters a writer escapes although it need not (``\u0073`` for ``s``), other
encodings, and parts of a secret are not among them.
"""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import quote_from_bytes

_SHORTEST: Final = 8
"""Bytes. A shorter form would be met by chance."""
_STANDARD: Final = {b'"': b'\\"', b"\\": b"\\\\"}
"""RFC 8259 section 7: what every writer of JSON escapes."""
_SLASH: Final = {b"/": b"\\/"}
_HTML_SAFE: Final = b"<>&"
_MORE_HTML_SAFE: Final = b"<>&='"
_NOT_IN_ATTRIBUTES: Final = b"<>&'+`\""


def forms_of(secret: bytes) -> tuple[bytes, ...]:
    """Each form once, the secret itself first."""
    found = [*_json(secret), *_url(secret), *_base64(secret)]
    return tuple(dict.fromkeys([secret, *(form for form in found if len(form) >= _SHORTEST)]))


def _json(secret: bytes) -> list[bytes]:
    """As writers of JSON escape it by default: most, PHP, Go, Gson, .NET."""
    return [
        _escaped(secret, _STANDARD),
        _escaped(secret, _STANDARD | _SLASH),
        _escaped(secret, _STANDARD | _unicode(_HTML_SAFE)),
        _escaped(secret, _STANDARD | _unicode(_MORE_HTML_SAFE)),
        _escaped(secret, _STANDARD | _unicode(_NOT_IN_ATTRIBUTES, upper=True)),
    ]


def _unicode(characters: bytes, *, upper: bool = False) -> dict[bytes, bytes]:
    pattern = "\\u%04X" if upper else "\\u%04x"
    return {bytes([code]): (pattern % code).encode() for code in characters}


def _escaped(secret: bytes, escapes: dict[bytes, bytes]) -> bytes:
    return b"".join(escapes.get(bytes([code]), bytes([code])) for code in secret)


def _url(secret: bytes) -> list[bytes]:
    """RFC 3986 section 2.1, with hexadecimal digits of either case."""
    whole = quote_from_bytes(secret, safe="").encode()
    some = quote_from_bytes(secret, safe="/:=+@!$&'()*,;").encode()
    parts = whole.split(b"%")
    lower = parts[0] + b"".join(b"%" + part[:2].lower() + part[2:] for part in parts[1:])
    return [whole, some, lower]


def _base64(secret: bytes) -> list[bytes]:
    """As it appears at any place of a longer text: without what its neighbours have a part in."""
    found = []
    for before in range(3):
        text = base64.b64encode(b"\0" * before + secret)
        end = (before + len(secret)) * 8 // 6
        part = text[(0, 2, 3)[before] : end]
        found += [part, part.replace(b"+", b"-").replace(b"/", b"_")]
    return found
