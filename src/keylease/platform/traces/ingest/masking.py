"""Secrets in spans become their fingerprints, before anything of a span is written.

Protects: a key that somebody sends by mistake, in a name, a key, a value, an event, the resource or
    a status message, plain or in what the detectors decode (JSON in JSON, base64, hexadecimal,
    URLs, gzip), also with characters in between that nobody sees. What could not be looked into
    because of a bound is left out, too.
Does not protect: secrets without a form and without a telling name beside them; numbers; secrets
    that are cut in two over two texts. Who means to hide one can: other encodings and alphabets.
Limits: one thread at a time. A request without secrets costs one search of all its texts.

A mask is ``[secret:<kind>:<first 16 digits of the fingerprint>]``. Two texts with the same mask
hold the same secret. One that could be guessed has no fingerprint: ``[secret:<kind>]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from keylease.contracts.findings import Fingerprint
from keylease.detectors.scanning import Confidence, Match, Nature, Omission, Scanner
from keylease.detectors.scanning.judging import BESIDE_EXAMPLE
from keylease.platform.traces.ingest import sheets
from keylease.platform.traces.ingest.personal_data import PersonalDataMasker
from keylease.platform.traces.ingest.sheets import Line
from keylease.platform.traces.model import Origin, RawSpan

_SHOWN_DIGITS: Final = 16
_OWN_MASK: Final = re.compile(rb"\[secret:[a-z0-9-]{1,40}(?::[0-9a-f]{16})?\]")
_BETWEEN: Final = b": "
_LEFT_OUT: Final = b"[not looked into]"
_HARMLESS: Final = frozenset({"corrupt"})
"""Omissions that hide nothing that could be read."""

Fingerprints = Callable[[bytes], tuple[Fingerprint, ...]]
"""The fingerprints of a secret under its organization's key; none when it could be guessed."""


class MaskedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that was masked, for the inventory. Holds nothing of it."""

    provider: str
    kind: str
    confidence: Confidence
    reason: str
    masked: str
    key_id: str
    fingerprints: tuple[Fingerprint, ...]
    trace_id: str
    span_id: str
    span_name: str
    attribute: str
    """The name under which it stood; ``name``, ``status``, ``event`` and ``scope`` are ours."""


class Masked(msgspec.Struct, frozen=True):
    """Spans that may be written, and what was taken out of them."""

    spans: list[RawSpan]
    found: list[MaskedSecret]


class _Piece(msgspec.Struct, frozen=True, order=True):
    """Bytes of a sheet to be replaced."""

    start: int
    end: int
    mask: bytes


class Masker:
    """Masks the spans of one request after the other; not for several threads at once."""

    def __init__(self) -> None:
        self._scanner = Scanner()

    def masked(
        self,
        spans: list[RawSpan],
        fingerprints: Fingerprints,
        personal_data: PersonalDataMasker | None = None,
    ) -> Masked:
        """The spans without secrets, and without what the project's rules name."""
        text, binary = sheets.sheet(spans)
        found: list[MaskedSecret] = []
        if self._suspicious(text.encode("utf-8", "surrogatepass")):
            spans = self._each(spans, fingerprints, found)
        if binary:
            spans = [self._without_bytes(span, fingerprints, found) for span in spans]
        if personal_data is not None and personal_data.suspects(text):
            spans = _without_personal_data(spans, personal_data)
        if personal_data is not None and binary:
            spans = [_bytes_without(span, personal_data) for span in spans]
        if personal_data is not None:
            found = [_named_without(one, personal_data) for one in found]
        return Masked(spans, found)

    def text(self, text: str, fingerprints: Fingerprints, *, name: str = "") -> str:
        """One text without secrets; for what is written beside spans."""
        line = Line(name or "text", text, fixed=True)
        return self._lines([line], fingerprints, [])[0][1]

    def _suspicious(self, data: bytes) -> bool:
        scan = self._scanner.examine(data)
        return bool(scan.omissions) or any(map(_to_mask, scan.matches))

    def _each(
        self, spans: list[RawSpan], fingerprints: Fingerprints, found: list[MaskedSecret]
    ) -> list[RawSpan]:
        """Span by span, so that what one holds takes nothing from the budget of the others."""
        origins: dict[int, Origin] = {}
        made: list[RawSpan] = []
        for span in spans:
            origin = origins.get(id(span.origin))
            if origin is None:
                origin = self._origin(span, fingerprints, found)
                origins[id(span.origin)] = origin
            places: list[tuple[str, Match]] = []
            new = self._lines(list(sheets.lines(span)), fingerprints, places)
            masked = sheets.rewritten(span, iter(new), origin)
            found += (_report(match, name, masked, fingerprints) for name, match in places)
            made.append(masked)
        return made

    def _origin(
        self, span: RawSpan, fingerprints: Fingerprints, found: list[MaskedSecret]
    ) -> Origin:
        places: list[tuple[str, Match]] = []
        new = self._lines(list(sheets.origin_lines(span.origin)), fingerprints, places)
        bare = msgspec.structs.replace(span, name="")
        found += (_report(match, name, bare, fingerprints) for name, match in places)
        return sheets.rewritten_origin(span.origin, iter(new))

    def _lines(
        self,
        given: list[Line],
        fingerprints: Fingerprints,
        places: list[tuple[str, Match]],
    ) -> list[tuple[str, str]]:
        """New names and texts. ``places`` gets every match with the (masked) name of its line."""
        names = [line.name.encode("utf-8", "surrogatepass") for line in given]
        texts = [line.text.encode("utf-8", "surrogatepass") for line in given]
        data = b"\n".join(name + _BETWEEN + text for name, text in zip(names, texts, strict=True))
        scan = self._scanner.examine(data)
        matches = [match for match in scan.matches if _to_mask(match)]
        pieces = _joined(
            [
                *(_Piece(m.start, m.end, mask_of(m, fingerprints)) for m in matches),
                *(_Piece(o.start, o.end, _LEFT_OUT) for o in scan.omissions if _hides(o)),
            ]
        )
        made: list[tuple[str, str]] = []
        place = 0
        for line, name, text in zip(given, names, texts, strict=True):
            start = place + len(name) + len(_BETWEEN)
            end = start + len(text)
            new_name = line.name if line.fixed else _replaced(name, place, pieces)
            made.append((new_name, _replaced(text, start, pieces)))
            places += ((new_name, match) for match in matches if place <= match.start < end)
            place = end + 1
        return made

    def _without_bytes(
        self, span: RawSpan, fingerprints: Fingerprints, found: list[MaskedSecret]
    ) -> RawSpan:
        def looked_into(value: bytes, name: str, before: bytes) -> bytes:
            scan = self._scanner.examine(before + value)
            matches = [
                match for match in scan.matches if _to_mask(match) and match.start >= len(before)
            ]
            found.extend(_report(match, name, span, fingerprints) for match in matches)
            pieces = [_Piece(m.start, m.end, mask_of(m, fingerprints)) for m in matches]
            pieces += (_Piece(o.start, o.end, _LEFT_OUT) for o in scan.omissions if _hides(o))
            return _spliced(value, len(before), _joined(pieces))

        def twice(value: bytes, name: str) -> bytes:
            # By itself, because only so the detectors know packed data; then by its name.
            value = looked_into(value, name, b"")
            return looked_into(value, name, name.encode("utf-8", "surrogatepass") + _BETWEEN)

        return sheets.with_bytes(span, twice)


def mask_of(match: Match, fingerprints: Fingerprints) -> bytes:
    """What stands for a secret."""
    known = fingerprints(match.secret.reveal(why="its fingerprint stands in its place"))
    shown = f":{known[0].value[:_SHOWN_DIGITS]}" if known else ""
    return f"[secret:{match.kind}{shown}]".encode()


def _to_mask(match: Match) -> bool:
    """Everything but what documentation prints and what forms are filled with as an example.

    By its own form: a real key may be talked about in one breath with an example.
    """
    return match.nature is Nature.CANDIDATE or match.nature_reason == BESIDE_EXAMPLE


def _hides(omission: Omission) -> bool:
    return omission.reason not in _HARMLESS


def _report(match: Match, name: str, span: RawSpan, fingerprints: Fingerprints) -> MaskedSecret:
    return MaskedSecret(
        provider=match.provider,
        kind=match.kind,
        confidence=match.confidence,
        reason=match.reason,
        masked=match.masked,
        key_id=match.key_id,
        fingerprints=fingerprints(match.secret.reveal(why="the inventory knows it by this")),
        trace_id=span.trace_id,
        span_id=span.span_id,
        span_name=span.name,
        attribute=name,
    )


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    """In order, those that overlap made one."""
    made: list[_Piece] = []
    for piece in sorted(pieces):
        if made and piece.start < made[-1].end:
            last = made[-1]
            made[-1] = _Piece(last.start, max(last.end, piece.end), last.mask)
        else:
            made.append(piece)
    return made


def _replaced(text: bytes, place: int, pieces: Sequence[_Piece]) -> str:
    return _spliced(text, place, pieces).decode("utf-8", "replace")


def _spliced(data: bytes, place: int, pieces: Sequence[_Piece]) -> bytes:
    """``data``, which stands at ``place``, with the pieces that reach into it replaced."""
    own = [match.span() for match in _OWN_MASK.finditer(data)] if pieces else []
    parts: list[bytes] = []
    position = 0
    for piece in pieces:
        start, end = max(0, piece.start - place), min(len(data), piece.end - place)
        if start >= end or any(low <= start and end <= high for low, high in own):
            continue  # elsewhere, or within a mask that was made before
        parts += [data[position:start], piece.mask]
        position = end
    return b"".join([*parts, data[position:]])


def _without_personal_data(spans: list[RawSpan], rules: PersonalDataMasker) -> list[RawSpan]:
    origins: dict[int, Origin] = {}
    made: list[RawSpan] = []
    for span in spans:
        origin = origins.get(id(span.origin))
        if origin is None:
            lines = sheets.origin_lines(span.origin)
            origin = sheets.rewritten_origin(span.origin, _ruled(lines, rules))
            origins[id(span.origin)] = origin
        made.append(sheets.rewritten(span, _ruled(sheets.lines(span), rules), origin))
    return made


def _bytes_without(span: RawSpan, rules: PersonalDataMasker) -> RawSpan:
    """Bytes that are text, by the same rules; what is no UTF-8 stays as it is."""

    def ruled(value: bytes, _: str) -> bytes:
        try:
            return rules.masked(value.decode()).encode()
        except UnicodeDecodeError:
            return value

    return sheets.with_bytes(span, ruled)


def _named_without(found: MaskedSecret, rules: PersonalDataMasker) -> MaskedSecret:
    """What goes to the inventory says where it stood: by names that are masked like the span's."""
    return msgspec.structs.replace(
        found, span_name=rules.masked(found.span_name), attribute=rules.masked(found.attribute)
    )


def _ruled(lines: Iterable[Line], rules: PersonalDataMasker) -> Iterator[tuple[str, str]]:
    for line in lines:
        yield line.name if line.fixed else rules.masked(line.name), rules.masked(line.text)
