"""The posture: which protections are on here, which are not, and why.

Never silence: a protection that could not be switched on is a measure with ``on=False`` and a
reason, and is said at start, by `keylease doctor`, and by whoever reports on this gateway.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.primitives.confinement.measures import Measure

ISOLATING: Final = ("own user", "confined by Landlock")
"""The measures that keep the zones apart; one of them is enough."""


class Posture(msgspec.Struct, frozen=True, kw_only=True):
    """All protections of a process, and what its configuration leaves open."""

    measures: tuple[Measure, ...] = ()
    warnings: tuple[str, ...] = ()

    def in_words(self) -> str:
        """One line for a log: what is on, what is off and why, what the reader should act on."""
        isolating = [m.name for m in self.measures if m.on and m.name in ISOLATING]
        parts = [f"zones isolated: {' and '.join(isolating)}"] if isolating else []
        others = [m.name for m in self.measures if m.on and m.name not in ISOLATING]
        parts += [", ".join(others)] if others else ["nothing hardened"]
        parts += [f"{m.name} off: {m.reason}" for m in self.measures if not m.on]
        parts += [f"WARNING {warning}" for warning in self.warnings]
        return "posture: " + "; ".join(parts)
