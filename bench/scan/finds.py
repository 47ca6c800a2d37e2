"""What a scanner reported, in one form for all, and whether it is what was planted."""

from __future__ import annotations

import base64
import dataclasses
import re

from corpus import Planted


@dataclasses.dataclass(frozen=True)
class Find:
    """One report of a scanner."""

    path: str
    rule: str
    provider: str
    secret: str
    line: int = 0


@dataclasses.dataclass
class Score:
    """How many keys were found, and how many of them under the right provider's name."""

    planted: int = 0
    found: int = 0
    attributed: int = 0


def plain(text: str) -> str:
    """A secret without line breaks and escapes, so that the ways of writing one compare equal."""
    return re.sub(r"\\+[nr\"/]|`[nr\"]|&#10;|&quot;|[\\\s\"']", "", text)


def holds(find: Find, item: Planted) -> bool:
    """Whether the report is of the planted key: as it is, or in the encoding it was planted in.

    A report counts when it covers the key or at least its last 16 characters: most scanners
    report a line or a part of a private key.
    """
    value, secret = plain(item.value), plain(find.secret)
    encoded = base64.b64encode(item.value.encode()).decode()
    if len(secret) < 12:
        return False
    return value in secret or encoded in secret or secret in value or secret in encoded


def judge(
    planted: list[Planted], finds: list[Find], *, pairs: bool = False
) -> dict[Planted, tuple[bool, bool]]:
    """For each planted key whether it was found, and whether under its provider's name.

    ``pairs``: who reports the public half of a pair has found it; some report no other.
    """
    by_path: dict[str, list[Find]] = {}
    for find in finds:
        by_path.setdefault(find.path, []).append(find)
    result = {}
    for item in planted:
        holding = [
            find
            for find in by_path.get(item.path, [])
            if holds(find, item) or (pairs and item.companion and item.companion in find.secret)
        ]
        named = [find for find in holding if find.provider == item.provider]
        result[item] = (bool(holding), bool(named))
    return result


def scores(judged: dict[Planted, tuple[bool, bool]], key: str) -> dict[str, Score]:
    """Added up by an attribute of the planted keys."""
    result: dict[str, Score] = {}
    for item, (found, attributed) in judged.items():
        score = result.setdefault(getattr(item, key), Score())
        score.planted += 1
        score.found += found
        score.attributed += attributed
    return result
