"""The posture: which protections are on here, which are not, and why.

Never silence: a protection that could not be switched on is a measure with ``on=False`` and a
reason, and is said at start, by `keylease doctor`, and by whoever reports on this gateway.
"""

from __future__ import annotations

import msgspec


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One protection of this process."""

    name: str
    on: bool
    reason: str
    """What was done, or why it could not be."""


class Posture(msgspec.Struct, frozen=True, kw_only=True):
    """All protections of a process, and what its configuration leaves open."""

    measures: tuple[Measure, ...] = ()
    warnings: tuple[str, ...] = ()

    def in_words(self) -> str:
        """One line for a log: what is on, then what the reader should act on."""
        on = [measure.name for measure in self.measures if measure.on]
        off = [
            f"{measure.name} off: {measure.reason}" for measure in self.measures if not measure.on
        ]
        parts = [", ".join(on) or "nothing hardened", *off]
        parts += [f"WARNING {warning}" for warning in self.warnings]
        return "posture: " + "; ".join(parts)
