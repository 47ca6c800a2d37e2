"""The form in which a provider file says what its secrets look like."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

_SEPARATOR: Final = re.compile(r"[^A-Za-z0-9]")
_LONG_RUN: Final = 16


class Definition(NamedTuple):
    """One kind of secret.

    ``pattern`` is tried only where one of ``literals`` stands, and matches from there. It must
    read each character a bounded number of times: single runs of a character class, or bounded
    repetition; no nested quantifiers. Its group ``secret`` is what is masked, or else the whole.
    """

    kind: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    boundary: bool = True
    """The literal must not stand inside a word. Off for literals that no word contains."""
    accept: Callable[[str], bool] | None = None
    """Whether the secret's text is one; keeps ordinary words out."""
    at: Callable[[str, int], bool] | None = None
    """Whether the place in the text is one, told the literal's start."""
    extend: Callable[[str, int], int] | None = None
    """Told where the match ends; gives where the secret ends."""
    reads_on: bool = True
    """What ``accept`` refused is not looked at again. Off only for patterns of bounded length."""
    nearby: re.Pattern[str] | None = None
    """Also masked when it stands within ``NEARBY`` characters of the match."""
    nearby_accept: Callable[[str], bool] | None = None


def entropy(text: str) -> float:
    """Shannon entropy in bits per character, from the text's own frequencies."""
    length = len(text)
    return -sum(n / length * math.log2(n / length) for n in Counter(text).values())


def is_random(text: str) -> bool:
    """Whether a value without spaces is likely to be generated rather than written by a person.

    Three tests: all of lower case, upper case and digits; one case with digits in one long run
    (``kebab-case-v2`` has only short ones); letters that change case more often than camelCase.
    """
    lower, upper = any(map(str.islower, text)), any(map(str.isupper, text))
    digits = any(map(str.isdigit, text))
    if digits and lower and upper:
        return entropy(text) >= 3  # noqa: PLR2004 - bits
    if digits:
        longest = max(_SEPARATOR.split(text), key=len)
        return (
            len(longest) >= _LONG_RUN
            and any(map(str.isdigit, longest))
            and any(map(str.isalpha, longest))
            and entropy(longest) >= 2.5  # noqa: PLR2004 - bits; aaaa1111 stays below
        )
    changes = sum(a.islower() != b.islower() for a, b in pairwise(text))
    return lower and upper and changes >= 0.38 * len(text)
