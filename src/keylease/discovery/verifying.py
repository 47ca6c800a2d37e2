"""Hands found keys to the process that asks their providers, and takes its verdicts.

Protects: a key goes from the process of the scan that found it into a pipe, whose other end a
    strongroom process of this machine holds; it is in no argument, file or variable, in nothing
    that the processes of a scan tell each other, and in no verdict.
Does not protect: who else may read that pipe; whoever starts the scan decides that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Protocol

from keylease.contracts.findings import Confidence, Liveness
from keylease.contracts.verification import Question, Verdict, frame
from keylease.detectors.scanning import Confidence as Sureness
from keylease.detectors.scanning import Match, Nature
from keylease.discovery.sightings import Sighting

_UNSURE: Final = "It is not sure enough to be a key of this provider to be sent there."
_NO_CANDIDATE: Final = "It is no key that could work."
_NOT_ASKED: Final = "It was not asked about: the verification did not come to its end."


class HandOver:
    """The writing end of the pipe. Every process of a scan has it and writes for itself."""

    def __init__(self, descriptor: int) -> None:
        """Takes ``descriptor`` over."""
        self._descriptor = descriptor
        self._given: set[tuple[bytes, str, str]] = set()

    def give(self, match: Match, digest: bytes) -> None:
        """Hand a key over, once; what is no sure key stays here. May wait for the reader."""
        if match.nature is not Nature.CANDIDATE or match.confidence is Sureness.LOW:
            return
        one = (digest, match.kind, match.key_id)
        if one in self._given or self._descriptor < 0:
            return
        self._given.add(one)
        secret = match.secret.reveal(why="hand it to the process that asks its provider")
        written = frame(Question(digest, match.kind, match.key_id, secret))
        if written is None:
            return  # longer than any key that can be asked about
        try:
            os.write(self._descriptor, written)
        except BrokenPipeError:
            self.close()  # the reader ended; who waits for its verdicts says so

    def close(self) -> None:
        """Nothing more will come from this process."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Verifier(Protocol):
    """The process that asks."""

    @property
    def hand_over(self) -> HandOver:
        """Where found keys go."""
        ...

    def verdicts(self) -> Mapping[bytes, Verdict]:
        """Say that nothing more comes, wait for the answers, and give them by digest."""
        ...

    def abandon(self) -> None:
        """End it without waiting."""
        ...


def verdict_of(sighting: Sighting, verdicts: Mapping[bytes, Verdict]) -> Verdict:
    """What is known of one secret after a verification; says why when that is nothing."""
    found = verdicts.get(sighting.digest)
    if found is not None:
        return found
    if sighting.nature != Nature.CANDIDATE.value:
        reason = _NO_CANDIDATE
    elif sighting.confidence is Confidence.LOW:
        reason = _UNSURE
    else:
        reason = _NOT_ASKED
    return Verdict(liveness=Liveness.UNKNOWN, reason=reason)
