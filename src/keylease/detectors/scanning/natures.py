"""Placeholders, published examples and test vectors, told from what may be a key that works."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from keylease.detectors.randomness import entropy, repeats, steps
from keylease.detectors.scanning.matches import Nature
from keylease.detectors.scanning.published import PUBLISHED

_WORDS: Final = re.compile(
    r"\*\*\*|\.\.\.|example|placeholder|change[-_ ]?me|replace|redacted|dummy|sample|insert|foobar"
    r"|invalid|not[-_ ]?(?:a[-_ ]?)?real|secret[-_ ]?key|key[-_ ]?here|my[-_ ]?key|goes[-_ ]?here"
    r"|abcdefg|1234567|qwerty|deadbeef|0000000"
)
_SHORT_WORDS: Final = re.compile(r"your|xxxx|fake|mock|todo")
_ENTROPY_OF_CHANCE: Final = 4.3
"""Bits for each character; random text above it holds a word of four letters by chance, one key in
a thousand."""
_EXAMPLE: Final = re.compile(r"EXAMPLE(?:KEY)?\Z")
_VARIABLE: Final = re.compile(r"[$%{<\[]|\}\}|process\.env|environ|getenv")
_STEPS: Final = 0.5
_LONG: Final = 200
"""Characters; in something longer a word is chance."""


class Verdict(NamedTuple):
    """What a value is, and why."""

    nature: Nature = Nature.CANDIDATE
    reason: str = ""


CANDIDATE: Final = Verdict()


def digest(value: str) -> str:
    """By what a published value is known: the list holds none of them in the clear."""
    compact = "".join(value.split())
    return hashlib.sha256(compact.encode("utf-8", "replace")).hexdigest()[:24]


def nature_of(value: str, *, prefix: str, least_entropy: float) -> Verdict:
    """``prefix`` is the part that every secret of its kind has; only the rest can tell."""
    published = PUBLISHED.get(digest(value))
    if published is not None:
        return Verdict(Nature.TEST_VECTOR, published)
    if _EXAMPLE.search(value):
        return Verdict(Nature.EXAMPLE, "It is an example of the provider's documentation.")
    rest = value.removeprefix(prefix).strip("=-_.")
    word = _WORDS.search(rest.lower()) if len(rest) <= _LONG else None
    if word is None and len(rest) <= _LONG and entropy(rest or "-") < _ENTROPY_OF_CHANCE:
        word = _SHORT_WORDS.search(rest.lower())
    if word is not None:
        return Verdict(Nature.PLACEHOLDER, f"It contains {word[0]!r}.")
    reason = _filler(rest, least_entropy)
    return Verdict(Nature.PLACEHOLDER, reason) if reason else CANDIDATE


def _filler(rest: str, least_entropy: float) -> str:
    """Why the characters were put there to fill a place, or nothing."""
    if not rest or _VARIABLE.search(rest):
        return "It is a variable or a gap to be filled."
    if repeats(rest):
        return "It is one piece again and again."
    if steps(rest[:_LONG]) >= _STEPS:
        return "Its characters are in order, as on a keyboard."
    if entropy(rest) < least_entropy:
        return "It has too few different characters."
    return ""
