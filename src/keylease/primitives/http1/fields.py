"""The fields of one message, as llhttp reads them: framing apart, hop-by-hop fields gone.

Protects: a field that decides about framing is there at most once and has one possible reading
(RFC 9112 section 6, RFC 9110 section 8.6); otherwise the whole message is refused.
Does not protect: every other field is the sender's word and is passed on to the handler.
"""

from __future__ import annotations

from typing import Final

from keylease.primitives.http1.interfaces import Headers

_SINGLE: Final = frozenset({b"content-length", b"expect", b"host", b"transfer-encoding"})
_KEPT: Final = frozenset({b"content-length", b"host"})
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",  # answered by our own server side
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1, and its older relatives. ``Upgrade`` is ignored (section 7.8)."""
_LENGTH_DIGITS: Final = 15
_LOOKED_AT: Final = _SINGLE | _HOP_BY_HOP
_NEVER_NOMINATED: Final = frozenset({b"close", b"content-length", b"host", b"te"})


class Ambiguous(ValueError):
    """The fields could be read in two ways; the text says which and may be shown to the peer."""


class Fields:
    """Takes llhttp's callbacks."""

    __slots__ = ("_headers", "_single", "_twice", "target", "tokens")

    def __init__(self) -> None:
        self._headers: Headers = []
        self._single: dict[bytes, bytes] = {}
        self._twice = b""
        self.target = b""
        self.tokens: frozenset[bytes] = frozenset()
        """What ``Connection`` lists, in lower case."""

    def on_url(self, target: bytes) -> None:
        """The request's target."""
        self.target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field line."""
        name = name.lower()
        value = value.rstrip(b" \t")
        if name not in _LOOKED_AT:
            self._headers.append((name, value))
        elif name in _SINGLE:
            if name in self._single:
                self._twice = name
            self._single[name] = value
            if name in _KEPT:
                self._headers.append((name, value))
        elif name == b"connection":
            self.tokens |= {token.strip(b" \t") for token in value.lower().split(b",")}
        elif name == b"te" and value.lower() == b"trailers":
            self._headers.append((name, b"trailers"))

    def get(self, name: bytes) -> bytes | None:
        """A field that decides about the message."""
        return self._single.get(name)

    def headers(self) -> Headers:
        """What is passed on: without the fields that ``Connection`` names, too."""
        nominated = self.tokens - _NEVER_NOMINATED
        if nominated:
            return [field for field in self._headers if field[0] not in nominated]
        return self._headers

    def content_length(self) -> int | None:
        """The length; raises ``Ambiguous`` for anything odd about the message's framing."""
        if self._twice:
            raise Ambiguous(f"The field {self._twice.decode('ascii')} is there twice.")
        length = self._single.get(b"content-length")
        coding = self._single.get(b"transfer-encoding")
        if coding is not None:
            if length is not None:
                raise Ambiguous("Content-Length and Transfer-Encoding exclude each other.")
            if coding != b"chunked":
                raise Ambiguous("The only transfer coding here is chunked.")
        if length is None:
            return None
        if len(length) > _LENGTH_DIGITS or not length.isdigit():  # No sign, no list, no space.
            raise Ambiguous("The Content-Length field is not a number.")
        return int(length)
