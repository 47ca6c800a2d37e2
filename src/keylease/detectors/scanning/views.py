"""The same data with an encoding taken off, and the way back to the places it came from.

A view holds decoded bytes and maps every place in them to the bytes they were made of: exactly for
base64, hexadecimal, escapes and UTF-16; for compressed data to the whole compressed stream.

Limits: only decompression makes data larger. It draws on a ``Budget`` that all views of one look
    share, so that bombs inside bombs cost at most that much.
"""

from __future__ import annotations

import bisect
import functools
import re
import urllib.parse
import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_hex
from collections.abc import Iterator
from typing import Final

from keylease.detectors.scanning.matcher import INVISIBLE
from keylease.detectors.scanning.matches import Omission
from keylease.detectors.scanning.runs import BASE64_RUN, RUNS, SHORTEST_HEX, SHORTEST_RUN

MOST_DECOMPRESSED: Final = 64 * 1024 * 1024
"""Bytes, over all streams of one look."""
MOST_UNESCAPED: Final = 8
"""How many times the data, over all ways of taking escapes off it."""
LARGEST_VIEW: Final = 16 * 1024 * 1024
DEEPEST: Final = 6
"""Encodings inside each other. A Helm release in a manifest has five."""
GZIP: Final = b"\x1f\x8b\x08"
_PROBE: Final = 32
_WIDE_PROBE: Final = 64
_LEAST_WIDE: Final = 16
"""Bytes; fewer are too few to tell."""
_LEAST_OF_WIDE: Final = 0.85
_PRINTABLE: Final = bytes(range(32, 127)) + b"\t\r\n\f\x1b"
_LEAST_PRINTABLE: Final = 0.97
_GZIP_BASE64: Final = b"H4sI"
_FIRST_DIGITS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
_LINE: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_SHORTEST_LINE: Final = 48
"""Characters; base64 that is broken into lines has lines of 64 or 76, seldom of others."""
_GAP: Final = re.compile(rb"(?:\r?\n|\\n)[ \t]{0,64}")
_JSON_ESCAPE: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|[\"\\/bfnrt])")
_JSON_PARTS: Final = re.compile(b"(" + _JSON_ESCAPE.pattern + b")")
_URL_ESCAPE: Final = re.compile(rb"%[0-9a-fA-F]{2}")
_HEX_DIGITS: Final = re.compile(rb"[0-9a-fA-F]+")
_HEX_PROBE: Final = 64
_LEAST_VARIED: Final = 8
"""Different bytes that a text with a key in it has at least."""
_OF_HEX: Final = b"0123456789abcdefABCDEF"
_INVISIBLE: Final = re.compile(INVISIBLE.encode())
_ARMOUR: Final = re.compile(rb"-----(?:BEGIN|END)[A-Z+]{4,40}-----")
_SHORT: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_BYTE_ORDER_MARKS: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class Budget:
    """How much may still be decoded, and what was left out."""

    def __init__(self, size: int) -> None:
        """``size`` is that of the original data."""
        self._left = MOST_DECOMPRESSED
        self._unescaped = MOST_UNESCAPED * (size + MOST_DECOMPRESSED // 64)
        self.omissions: list[Omission] = []

    def most(self) -> int:
        """Bytes that the next stream may have."""
        return min(self._left, LARGEST_VIEW)

    def take(self, size: int) -> None:
        """Account for a stream."""
        self._left -= size

    def unescape(self, base: int, block: bytes) -> bool:
        """Account for the escapes of a block, or for hex; False when there was too much before.

        One block may be unescaped in several ways, and each result again: without a bound, six
        levels of two ways would be 64 times the data.
        """
        self._unescaped -= len(block)
        if self._unescaped < 0:
            self.omit("too_deep", "", base, base + len(block))
        return self._unescaped >= 0

    def omit(self, reason: str, encoding: str, start: int, end: int) -> None:
        """Note a part that was not decoded. Places are those of the data the view was made of."""
        self.omissions.append(Omission(reason=reason, encoding=encoding, start=start, end=end))


class View:
    """Decoded data. ``origin`` leads back to the data it was decoded from."""

    exact: bool = True

    def __init__(self, data: bytes, encoding: str, start: int, end: int) -> None:
        self.data = data
        self.encoding = encoding
        self.start = start
        self.end = end
        """Where the encoded form stands in the data it was decoded from."""

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The encoded bytes of ``data[start:end]``."""
        del start, end
        return self.start, self.end


class _Compressed(View):
    exact = False


class _Wide(View):
    def origin(self, start: int, end: int) -> tuple[int, int]:
        return self.start + 2 * start, self.start + 2 * end


class _Base64(View):
    """``lines``: for each line of the encoded form its first character's number and its place."""

    def __init__(self, data: bytes, start: int, end: int, lines: list[tuple[int, int]]) -> None:
        super().__init__(data, "base64", start, end)
        self._lines = lines

    def origin(self, start: int, end: int) -> tuple[int, int]:
        first = start // 3 * 4 + start % 3
        last = (end - 1) // 3 * 4 + (end - 1) % 3 + 1
        return (
            self._place(first),
            self.end if end >= len(self.data) else self._place(last) + 1,
        )

    def _place(self, number: int) -> int:
        line = bisect.bisect_right(self._lines, number, key=lambda line: line[0]) - 1
        first, place = self._lines[line]
        return place + number - first


class _Hexadecimal(View):
    def origin(self, start: int, end: int) -> tuple[int, int]:
        return self.start + 2 * start, self.start + 2 * end


class _Escapes(View):
    """A block with escapes taken off; ``expression`` finds them in ``block``.

    Where each of them stood is worked out when the first place is asked for: nearly every block
    holds no secret, and then only the decoded data is needed.
    """

    def __init__(
        self,
        data: bytes,
        encoding: str,
        block: bytes,
        base: int,
        expression: re.Pattern[bytes],
    ) -> None:
        super().__init__(data, encoding, base, base + len(block))
        self._block = block
        self._expression = expression

    @functools.cached_property
    def _escapes(self) -> list[tuple[int, int, int, int]]:
        """For each escape its place and size in the decoded data, and its start and end."""
        escapes: list[tuple[int, int, int, int]] = []
        position = size = 0
        for match in self._expression.finditer(self._block):
            start, end = match.span()
            decoded = len(_decoded(self.encoding, match[0]))
            size += start - position
            escapes.append((size, decoded, self.start + start, self.start + end))
            size += decoded
            position = end
        return escapes

    def origin(self, start: int, end: int) -> tuple[int, int]:
        return self._place(start, after=False), self._place(end - 1, after=True)

    def _place(self, offset: int, *, after: bool) -> int:
        index = bisect.bisect_right(self._escapes, offset, key=lambda escape: escape[0]) - 1
        if index < 0:
            return self.start + offset + after
        place, size, start, end = self._escapes[index]
        if offset < place + size:
            return end if after else start
        return end + offset - place - size + after


def unescaped_json(block: bytes, base: int) -> View | None:
    """A block with the escapes of JSON strings taken off, wherever they stand.

    ``base`` is the block's place in the data.
    """
    if _JSON_ESCAPE.search(block) is None:
        return None
    return _Escapes(_without_json_escapes(block), "json", block, base, _JSON_ESCAPE)


def unescaped_url(block: bytes, base: int) -> View | None:
    """A block with percent-escapes taken off (RFC 3986 section 2.1)."""
    if _URL_ESCAPE.search(block) is None:
        return None
    # Forms write a space as "+"; in a key's armour it can be nothing else.
    data = _ARMOUR.sub(
        lambda armour: armour[0].replace(b"+", b" "), urllib.parse.unquote_to_bytes(block)
    )
    return _Escapes(data, "url", block, base, _URL_ESCAPE)


def without_invisible(block: bytes, base: int) -> View | None:
    """A block without characters that nobody sees, which a key has when it is copied from a page.

    ``base`` is the block's place in the data.
    """
    if _INVISIBLE.search(block) is None:
        return None
    return _Escapes(_INVISIBLE.sub(b"", block), "invisible", block, base, _INVISIBLE)


def _without_json_escapes(block: bytes) -> bytes:
    """What replacing each match of ``_JSON_ESCAPE`` in order gives, without a step for each."""
    parts = _JSON_PARTS.split(block)
    parts[1::2] = map(_of_json_escape, parts[1::2])
    return b"".join(parts)


@functools.lru_cache(maxsize=4096)
def _of_json_escape(escape: bytes) -> bytes:
    if len(escape) == len(b"\\u0000"):
        return chr(int(escape.removeprefix(b"\\u"), 16)).encode("utf-8", "replace")
    return _SHORT.get(escape[1:], escape[1:])


def _decoded(encoding: str, escape: bytes) -> bytes:
    if encoding == "invisible":
        return b""
    return bytes((int(escape[1:], 16),)) if encoding == "url" else _of_json_escape(escape)


def decoded_base64(data: bytes, low: int, high: int, budget: Budget) -> Iterator[View]:
    """Base64 that begins in ``data[low:high]`` and is text, compressed, or base64 again.

    And hexadecimal that is text: its digits are among those of base64.
    """
    # A run that begins in front of ``high`` may have its first characters behind it.
    flat = data[low : high + SHORTEST_RUN - 1].translate(RUNS)
    position = flat.find(BASE64_RUN)
    while position >= 0:
        start = low + position
        following = flat.find(b" ", position)
        end = low + len(flat) if following < 0 else low + following
        is_begun = not position and _inside(data, start)
        if not (is_begun or data[start : start + SHORTEST_HEX].translate(None, _OF_HEX)):
            yield from _hex(data, start, budget)
        if not is_begun and _promising(data, start, end):
            for lines_end in _ends(data, start):
                view = _base64(data, start, lines_end, budget)
                if view is not None:
                    yield view
                    end = view.end
                    break
        position = flat.find(BASE64_RUN, max(end - low, position + 1))


def _inside(data: bytes, start: int) -> bool:
    """Whether the run began before ``start``."""
    return start > 0 and data[start - 1 : start].translate(RUNS) == b"x"


def _promising(data: bytes, start: int, end: int) -> bool:
    """A cheap look at the beginning: nearly everything that is no base64 ends here.

    Every byte of ASCII text has its highest bit off, and so the first of every four
    characters is one of the first 32 digits.
    """
    if data[start : start + 4] == _GZIP_BASE64:
        return True
    if data[start : start + SHORTEST_RUN : 4].translate(None, _FIRST_DIGITS):
        return False
    if data[start : start + 3] == b"eyJ" and data[end : end + 1] == b".":
        return False  # a JSON web token is a secret as it stands
    probe = a2b_base64(data[start : start + min(_PROBE, (end - start) // 4 * 4)])
    return _readable(probe) or _wide(probe) is not None


def _readable(data: bytes) -> bool:
    return len(data.translate(None, _PRINTABLE)) <= (1 - _LEAST_PRINTABLE) * len(data)


def _ends(data: bytes, start: int) -> list[int]:
    """Where base64 that begins at ``start`` may end: behind all its lines, or the first."""
    first = _LINE.match(data, start, start + 2 * LARGEST_VIEW)
    if first is None:
        return []
    length, ends = first.end() - start, [first.end()]
    while length >= _SHORTEST_LINE and length % 4 == 0:
        gap = _GAP.match(data, ends[-1])
        line = None if gap is None else _LINE.match(data, gap.end(), gap.end() + length + 3)
        if line is None or len(line[0]) > length:
            break
        if len(line[0]) < length:
            if _is_last(line[0]):
                ends.append(line.end())
            break
        ends.append(line.end())
    return [ends[-1], ends[0]] if len(ends) > 1 else ends


def _is_last(line: bytes) -> bool:
    """Whether a shorter line continues the text, and is not the next word of the file."""
    body = line.rstrip(b"=")
    try:
        decoded = a2b_base64(body + b"=" * (-len(body) % 4))
    except Base64Error:
        return False
    return not decoded.translate(None, _PRINTABLE)


def _base64(data: bytes, start: int, end: int, budget: Budget) -> View | None:
    encoded = data[start:end]
    lines, number, position = [(0, start)], 0, start
    for gap in _GAP.finditer(encoded):
        number += start + gap.start() - position
        position = start + gap.end()
        lines.append((number, position))
    body = _GAP.sub(b"", encoded) if len(lines) > 1 else encoded
    body = body.rstrip(b"=")
    body = body[: len(body) - (len(body) % 4 == 1)]
    if len(body) // 4 * 3 > LARGEST_VIEW:
        budget.omit("too_large", "base64", start, end)
        return None
    try:
        decoded = a2b_base64(body + b"=" * (-len(body) % 4))
    except Base64Error:
        return None
    if not (_readable(decoded) or decoded.startswith(GZIP) or _wide(decoded) is not None):
        return None
    return _Base64(decoded, start, end, lines)


def _hex(data: bytes, start: int, budget: Budget) -> Iterator[View]:
    """Hexadecimal that begins at ``start`` and is text; digests and identifiers are not.

    A digit in front that is not part of it leaves the rest at odd places: both are tried.
    """
    run = _HEX_DIGITS.match(data, start, start + 2 * LARGEST_VIEW + 2)
    end = start if run is None else run.end()
    if end - start < SHORTEST_HEX:
        return
    if end - start > 2 * LARGEST_VIEW:
        budget.omit("too_large", "hex", start, end)
        return
    for odd in (0, 1):
        first = start + odd
        last = end - (end - first) % 2
        if _readable(a2b_hex(data[first : min(last, first + _HEX_PROBE)])):
            encoded = data[first:last]
            decoded = a2b_hex(encoded)
            # Long numbers are digits of hex, too, and what they stand for is numbers again.
            varied = len(set(decoded)) >= _LEAST_VARIED
            if varied and _readable(decoded) and budget.unescape(first, encoded):
                yield _Hexadecimal(decoded, "hex", first, last)
                return


def decompressed(data: bytes, budget: Budget) -> View | None:
    """The content when the data is one gzip stream (RFC 1952), as far as the budget goes."""
    if not data.startswith(GZIP):
        return None
    if budget.most() <= 0:  # which zlib would take for "no limit"
        budget.omit("too_large", "gzip", 0, len(data))
        return None
    try:
        content = zlib.decompressobj(wbits=31)
        decoded = content.decompress(data, budget.most())
    except zlib.error:
        budget.omit("corrupt", "gzip", 0, len(data))
        return None
    if content.unconsumed_tail:
        budget.omit("too_large", "gzip", 0, len(data))
    elif not content.eof:
        budget.omit("corrupt", "gzip", 0, len(data))
    budget.take(len(decoded))
    return _Compressed(decoded, "gzip", 0, len(data))


def narrowed(data: bytes) -> View | None:
    """UTF-16 as one byte for each unit; what is no ASCII becomes a question mark."""
    encoding = _wide(data)
    if encoding is None:
        return None
    mark = 2 if data[:2] in _BYTE_ORDER_MARKS else 0
    text = data[mark : len(data) // 2 * 2].decode(encoding, "replace")
    if text and max(text) > "\uffff":
        text = re.sub("[\U00010000-\U0010ffff]", "??", text)
    return _Wide(text.encode("latin-1", "replace"), "utf-16", mark, len(data))


def _wide(data: bytes) -> str | None:
    """The encoding when the data is UTF-16, by its mark or because every other byte is zero."""
    marked = _BYTE_ORDER_MARKS.get(data[:2])
    if marked is not None:
        return marked
    probe = data[:_WIDE_PROBE]
    if len(probe) < _LEAST_WIDE:
        return None
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        high, low = probe[offset::2], probe[1 - offset :: 2]
        text = len(low) - len(low.translate(None, _PRINTABLE))
        if high.count(0) >= _LEAST_OF_WIDE * len(high) and text >= _LEAST_OF_WIDE * len(low):
            return encoding
    return None
