"""The scanner: candidates, confirmation, attribution, and the same again in what was decoded."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from keylease.detectors.naming import WINDOW, Surroundings
from keylease.detectors.scanning import views
from keylease.detectors.scanning.confirming import name_before, proposals
from keylease.detectors.scanning.judging import Proposal
from keylease.detectors.scanning.matcher import Candidate, Gate, Matcher, matcher
from keylease.detectors.scanning.matches import Confidence, FoundSecret, Match, Omission, Scan
from keylease.detectors.scanning.views import Budget, View

BLOCK: Final = 1024 * 1024
"""Bytes that are searched at a time, so that memory does not follow the size of the data."""
BEFORE: Final = 2048
AFTER: Final = 64 * 1024
"""Bytes around a block in which a secret that begins in it is seen whole, with its surroundings."""
_ORDER: Final = (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW)
_UNESCAPED: Final = {
    Gate.JSON: views.unescaped_json,
    Gate.URL: views.unescaped_url,
    Gate.INVISIBLE: views.without_invisible,
}
_ESCAPES: Final = frozenset({"json", "url", "invisible"})


class _Layer(NamedTuple):
    """Data on its way through the decoders."""

    data: bytes
    views: tuple[View, ...] = ()
    """Outermost first."""
    outer: Surroundings | None = None

    def encodings(self) -> tuple[str, ...]:
        return tuple(view.encoding for view in self.views)


class Scanner:
    """Finds secrets in bytes.

    Making one costs some hundredths of a second the first time in a process, so keep it. It is to
    be used by one thread at a time; a process that was forked after it was made may go on using it.
    """

    def __init__(self) -> None:
        self._matcher: Matcher = matcher()

    @property
    def engine(self) -> str:
        """``vectorscan``, or ``literals`` where that is not installed; both find the same."""
        return self._matcher.name

    def scan(self, data: bytes, *, name: str = "") -> list[Match]:
        """Every secret in ``data``, in order of its place. Never raises, whatever the data is.

        ``name`` is the path or title of the data. It helps to attribute values that have no form
        of their own.
        """
        return list(self.examine(data, name=name).matches)

    def examine(self, data: bytes, *, name: str = "") -> Scan:
        """As ``scan``, and with what was not decoded because a bound was reached."""
        look = _Look(self._matcher, name, len(data))
        for piece in look.pieces(_Layer(data)):
            look.found.extend(look.at(piece))
        return Scan(matches=tuple(_best(look.found)), omissions=tuple(look.omissions))

    def suspects(self, data: bytes, *, name: str = "") -> bool:
        """Whether ``scan`` would find anything, for readers to whom it is all one where.

        It is the same search, and ends at the first find; so the answer is never another.
        """
        look = _Look(self._matcher, name, len(data))
        return any(True for piece in look.pieces(_Layer(data)) for _ in look.at(piece))


class _Piece(NamedTuple):
    """One block of a layer, with the places in it where a secret may begin."""

    layer: _Layer
    base: int
    block: bytes
    core: tuple[int, int]
    candidates: list[Candidate]


class _Look:
    """One examination: what was found so far, and what is left of the budget."""

    def __init__(self, matcher: Matcher, title: str, size: int) -> None:
        self._matcher = matcher
        self._title = title
        self._budget = Budget(size)
        self.found: list[Match] = []
        self.omissions: list[Omission] = []

    def pieces(self, layer: _Layer) -> Iterator[_Piece]:
        """A layer block by block, and whatever can be decoded in each block at once."""
        for view in self._whole(layer):
            yield from self.pieces(_below(layer, view))
        for base, block, core in _blocks(layer.data):
            candidates, gates = self._matcher.candidates(block)
            yield _Piece(layer, base, block, core, candidates)
            for view in self._within(layer, base, block, core, gates):
                yield from self.pieces(_below(layer, view))

    def at(self, piece: _Piece) -> Iterator[Match]:
        """Every secret that begins in the piece's core."""
        if not piece.candidates and piece.layer.outer is None:
            return
        for proposal in proposals(
            piece.candidates,
            piece.block.decode("latin-1"),
            title=self._title,
            outer=piece.layer.outer,
        ):
            if piece.core[0] <= proposal.start < piece.core[1]:
                yield _match(proposal, piece.base, piece.layer)

    def _whole(self, layer: _Layer) -> list[View]:
        if len(layer.views) >= views.DEEPEST:
            return []
        decoded = (
            views.decompressed(layer.data, self._budget),
            views.narrowed(layer.data),
        )
        self._note(layer)
        return [view for view in decoded if view is not None]

    def _within(
        self, layer: _Layer, base: int, block: bytes, core: tuple[int, int], gates: Gate
    ) -> Iterator[View]:
        if len(layer.views) >= views.DEEPEST:
            if gates is not Gate.NONE:
                self._budget.omit("too_deep", "", base, base + len(block))
                self._note(layer)
            return
        for gate, unescaped in _UNESCAPED.items():
            if gate in gates and self._budget.unescape(base, block):
                view = unescaped(block, base)
                if view is not None:
                    yield view
        self._note(layer)
        if Gate.BASE64 in gates:
            low, high = base + core[0], base + core[1]
            yield from views.decoded_base64(layer.data, low, high, self._budget)
            self._note(layer)

    def _note(self, layer: _Layer) -> None:
        """Take over what was left out, with its place in the original data."""
        for omission in self._budget.omissions:
            start, end = _origin(layer, omission.start, omission.end)[0]
            self.omissions.append(msgspec.structs.replace(omission, start=start, end=end))
        self._budget.omissions.clear()


def _blocks(data: bytes) -> Iterator[tuple[int, bytes, tuple[int, int]]]:
    """Where each block begins, the block, and the part of it in which secrets may begin."""
    if len(data) <= BLOCK + AFTER:
        yield 0, data, (0, len(data))
        return
    for start in range(0, len(data), BLOCK):
        base = max(0, start - BEFORE)
        end = min(len(data), start + BLOCK)
        yield base, data[base : end + AFTER], (start - base, end - base)


def _below(layer: _Layer, view: View) -> _Layer:
    """The layer of a view. What is in base64 keeps the surroundings it was encoded in."""
    outer = layer.outer
    if view.encoding == "base64":
        before = layer.data[max(0, view.start - WINDOW) : view.start].decode("latin-1")
        after = layer.data[view.end : view.end + WINDOW].decode("latin-1")
        outer = Surroundings(name=name_before(before, len(before)), before=before, after=after)
    return _Layer(view.data, (*layer.views, view), outer)


def _origin(layer: _Layer, start: int, end: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """The place in the original data, and in decompressed data where that is all there is."""
    inner = None
    for view in reversed(layer.views):
        if not view.exact:
            inner = (start, end)
        start, end = view.origin(start, end)
    return (start, end), inner


def _match(proposal: Proposal, base: int, layer: _Layer) -> Match:
    place, inner = _origin(layer, base + proposal.start, base + proposal.end)
    return Match(
        kind=proposal.kind,
        provider=proposal.provider,
        start=place[0],
        end=place[1],
        inner=inner,
        encodings=layer.encodings(),
        confidence=proposal.confidence,
        reason=proposal.reason,
        nature=proposal.nature,
        nature_reason=proposal.nature_reason,
        masked=proposal.masked,
        key_id=proposal.key_id,
        name=proposal.name,
        secret=FoundSecret(proposal.value.encode("latin-1", "replace")),
    )


def _quality(match: Match) -> tuple[int, bool, int, int]:
    return (
        _ORDER.index(match.confidence),
        not match.provider,
        sum(encoding in _ESCAPES for encoding in match.encodings),
        match.start - match.end,
    )


def _best(matches: list[Match]) -> list[Match]:
    """The surest of those that overlap, in order of their places."""
    chosen: dict[tuple[int, int], list[tuple[int, int, Match]]] = {}
    for match in sorted(matches, key=_quality):
        # What stands in the same compressed stream is compared by the places in its content.
        stream = (0, 0) if match.inner is None else (match.start, match.end)
        start, end = match.inner or (match.start, match.end)
        kept = chosen.setdefault(stream, [])
        place = bisect.bisect_left(kept, start, key=_start)
        clear_before = place == 0 or kept[place - 1][1] <= start
        clear_after = place == len(kept) or end <= kept[place][0]
        if clear_before and clear_after:
            kept.insert(place, (start, end, match))
    return sorted((match for kept in chosen.values() for _, _, match in kept), key=_place)


def _start(kept: tuple[int, int, Match]) -> int:
    return kept[0]


def _place(match: Match) -> tuple[int, int]:
    return match.start, (match.inner or (0, 0))[0]
