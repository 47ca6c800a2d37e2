"""Looks at one piece: finds secrets in it, and says what their places mean.

Protects: this is the one place in discovery where a found secret is opened, to make its
    fingerprints, and handed over when it is to be asked about; nothing else that leaves here
    holds it.
Does not protect: names and paths come as they are; ``gathering`` masks them before they are shown.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

import msgspec

from keylease.contracts.findings import Confidence, OwnerCandidate, PlaceKind
from keylease.detectors.scanning import Confidence as Sureness
from keylease.detectors.scanning import Match, Nature, Scanner
from keylease.discovery.document import Context, Document, Named
from keylease.discovery.names import provider_of
from keylease.discovery.pieces import Piece
from keylease.discovery.problems import Problems
from keylease.discovery.sightings import NameSighting, Place, Sighting, Tally, Yield
from keylease.discovery.sources import Source, source_of
from keylease.discovery.verifying import HandOver
from keylease.primitives.fingerprints import FingerprintKey, FingerprintKeys

_DIGEST_BYTES: Final = 16
_MAXIMUM_MATCHES: Final = 5000
"""Secrets of one piece whose places are told apart; a file with more is a list of keys."""
_MAXIMUM_TEXT: Final = 512
_PLAIN_KINDS: Final = frozenset(
    {PlaceKind.FILE, PlaceKind.NOTEBOOK_SOURCE, PlaceKind.NOTEBOOK_OUTPUT}
)
"""Here the detectors tell the name as well as the source does, and see through escapes."""
_OMISSIONS: Final = {
    "too_deep": "Encodings nest too deeply in it.",
    "too_large": "Something encoded in it is larger than is decoded.",
}


class Inspector:
    """Collects what pieces hold; ``take`` gives it and begins anew. For one thread."""

    def __init__(
        self,
        scanner: Scanner,
        keys: FingerprintKeys,
        *,
        scan_key: bytes,
        problems: Problems,
        baseline: FingerprintKey | None = None,
        with_examples: bool = False,
        hand_over: HandOver | None = None,
    ) -> None:
        """``scan_key`` is random and the same for all processes of one scan."""
        self._scanner = scanner
        self._keys = keys
        self._scan_key = scan_key
        self._problems = problems
        self._baseline = baseline
        self._with_examples = with_examples
        self._hand_over = hand_over
        self._sightings: list[Sighting] = []
        self._names: list[NameSighting] = []
        self.tally = Tally()

    def take(self) -> Yield:
        """What was found since the last time."""
        result = Yield(self._sightings, self._names, self._problems.take(), self.tally)
        self._sightings, self._names, self.tally = [], [], Tally()
        return result

    def note_name(self, sighting: NameSighting) -> None:
        """Take over a name that was met in what is no file."""
        self._names.append(sighting)

    def inspect(
        self,
        piece: Piece,
        *,
        git_object: str = "",
        kind: PlaceKind | None = None,
        environment: str = "",
        owners: tuple[OwnerCandidate, ...] = (),
    ) -> None:
        """Look at one piece. ``kind`` and what follows it are given when it is no file."""
        data, path = piece.data, piece.path
        source = source_of(path, data) if kind is None else Source()
        document = Document(data, path, whole=piece.high is None and piece.low == 0)
        where = _Places(piece, git_object)
        scan = self._scanner.examine(data, name=path)
        count = 0
        for match in scan.matches:
            if match.start < piece.low or (piece.high is not None and match.start >= piece.high):
                continue
            if match.nature is not Nature.CANDIDATE and not self._with_examples:
                self.tally.examples += 1
                continue
            count += 1
            if count > _MAXIMUM_MATCHES:
                self._problems.add("too_many", path, "It holds more secrets than are listed.")
                break
            context = source.context(document, match.start)
            if kind is not None:
                context = context._replace(kind=kind, environment=environment, owners=owners)
            self._sightings.append(self._sighting(match, where.place(match.start, context)))
        for omission in scan.omissions:
            if omission.reason in _OMISSIONS:
                self._problems.add("not_decoded", path, _OMISSIONS[omission.reason])
        if kind is None and (source.past or not git_object):
            self._look_for_names(source, document, piece, where, past=bool(git_object))

    def inspect_names(self, paths: list[str]) -> None:
        """Look for secrets in the names of files."""
        data = b"\n".join(os.fsencode(path) for path in paths)
        for match in self._scanner.scan(data):
            if match.nature is Nature.CANDIDATE and match.confidence is Sureness.HIGH:
                path = paths[data.count(b"\n", 0, match.start)]
                place = Place(os.fsencode(path), PlaceKind.FILE_NAME)
                self._sightings.append(self._sighting(match, place))

    def _look_for_names(
        self, source: Source, document: Document, piece: Piece, where: _Places, *, past: bool
    ) -> None:
        """``past``: in an object of a history, of which only names are of interest."""
        for practice, named in [
            *((False, named) for named in source.mentions(document)),
            *((True, named) for named in (() if past else source.practices(document))),
        ]:
            if named.offset < piece.low or (piece.high is not None and named.offset >= piece.high):
                continue
            self._names.append(
                NameSighting(
                    name=named.name[:_MAXIMUM_TEXT],
                    provider=provider_of(named.name),
                    reason=named.reason[:_MAXIMUM_TEXT],
                    practice=practice,
                    place=where.place(named.offset, _context(named, source)),
                    refers_to=named.refers_to[:_MAXIMUM_TEXT],
                )
            )
        damage = "" if past else source.damage(document)
        if damage:
            self._problems.add("malformed", document.path, damage)

    def _sighting(self, match: Match, place: Place) -> Sighting:
        secret = match.secret.reveal(why="fingerprint of a finding")
        fingerprints = self._keys.of(secret)
        digest = self._digest(secret)
        if self._hand_over is not None:
            self._hand_over.give(match, digest)
        if match.name and (place.kind in _PLAIN_KINDS or not place.name):
            place = msgspec.structs.replace(place, name=match.name[:_MAXIMUM_TEXT])
        return Sighting(
            digest=digest,
            provider=match.provider,
            kind=match.kind,
            confidence=Confidence(match.confidence.value),
            reason=match.reason,
            nature=match.nature.value,
            masked=match.masked,
            key_id=match.key_id,
            key_id_digest=self._digest(match.key_id.encode()) if match.key_id else b"",
            fingerprints=fingerprints,
            baseline=self._baseline.fingerprint(secret)
            if self._baseline is not None and fingerprints
            else None,
            encodings=match.encodings,
            place=place,
        )

    def _digest(self, secret: bytes) -> bytes:
        return hmac.digest(self._scan_key, secret, hashlib.sha256)[:_DIGEST_BYTES]


class _Places:
    """Lines and columns, told in rising order of offsets without counting twice."""

    def __init__(self, piece: Piece, git_object: str) -> None:
        self._piece = piece
        self._path = os.fsencode(piece.path)
        self._object = git_object
        self._line = piece.first_line
        self._at = 0

    def place(self, offset: int, context: Context) -> Place:
        data = self._piece.data
        if offset < self._at:
            self._line, self._at = self._piece.first_line, 0
        self._line += data.count(b"\n", self._at, offset)
        self._at = offset
        start = data.rfind(b"\n", 0, offset) + 1
        before = len(data[start:offset].decode("utf-8", errors="replace"))
        if start == 0:
            before += self._piece.before
        return Place(
            path=self._path,
            kind=context.kind,
            line=self._line,
            column=before + 1,
            name=context.name[:_MAXIMUM_TEXT],
            environment=context.environment[:_MAXIMUM_TEXT],
            detail=context.detail[:_MAXIMUM_TEXT],
            owners=context.owners,
            git_object=self._object,
        )


def _context(named: Named, source: Source) -> Context:
    return Context(
        kind=source.kind, name=named.name, environment=named.environment, detail=named.detail
    )
