"""Which secrets the names at a vendor may be: linked by evidence, and marked as such.

A vendor lists names, providers and previews, never values. A secret is believed to be there when
the preview ends as the secret does, or when the secret lies elsewhere under the same name. Both can
be wrong; a link that is missing would be worse, because its owner would not be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease.platform.inventory.records import Place, Sighting

_TAIL: Final = re.compile(r"[A-Za-z0-9_-]+$")
_TELLING: Final = 3
"""Characters at the end of a masked form from which on two that agree are told as evidence."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A secret, the names that it may be, and why."""

    secret: Sighting
    there: tuple[Place, ...]
    evidence: str


def believed_there(names: Iterable[Place], secrets: Iterable[Sighting]) -> tuple[Link, ...]:
    """Link names without a value with secrets that are known from elsewhere."""
    known = tuple(names)
    return tuple(link for secret in secrets if (link := _link(secret, known)) is not None)


def _link(secret: Sighting, names: tuple[Place, ...]) -> Link | None:
    found: dict[str, Place] = {}
    reasons: dict[str, None] = {}
    for name in names:
        if reason := _reason(secret, name):
            found[name.id] = name
            reasons[reason] = None
    if not found:
        return None
    return Link(secret=secret, there=tuple(found.values()), evidence="; ".join(reasons))


def _reason(secret: Sighting, name: Place) -> str:
    if name.provider not in {"", secret.provider}:
        return ""
    ending, shown = _tail(secret.masked), _tail(name.location.preview)
    if ending and shown:
        # Both say how they end: that decides, whatever they are called.
        same = ending.endswith(shown) or shown.endswith(ending)
        return f"its preview ends with {min(ending, shown, key=len)}" if same else ""
    wanted = name.location.name.casefold()
    if wanted and any(place.location.name.casefold() == wanted for place in secret.places):
        return f"it is called {name.location.name} in both places"
    return ""


def _tail(masked: str) -> str:
    match = _TAIL.search(masked)
    # A text without a gap is no masked key but a word that the vendor put there.
    if match is None or match.start() == 0:
        return ""
    return match[0] if len(match[0]) >= _TELLING else ""
