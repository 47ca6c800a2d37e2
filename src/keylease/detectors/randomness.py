"""Whether a value was generated or written by a person."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Final

_SEPARATOR: Final = re.compile(r"[^A-Za-z0-9]")
_DIGITS: Final = frozenset("0123456789")
_LONG_RUN: Final = 16
_LEAST_PERIODS: Final = 3
_REPEATS_LENGTH: Final = 256


def entropy(text: str) -> float:
    """Shannon entropy in bits per character, from the text's own frequencies."""
    length = len(text)
    return -sum(n / length * math.log2(n / length) for n in Counter(text).values())


def is_random(text: str) -> bool:
    """Whether a value without spaces is likely to be generated rather than written by a person.

    Three tests: all of lower case, upper case and digits; one case with digits in one long run
    (``kebab-case-v2`` has only short ones); letters that change case more often than camelCase.
    """
    lower, upper = text != text.upper(), text != text.lower()
    digits = not _DIGITS.isdisjoint(text)
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
    if not (lower and upper):
        return False
    return sum(a.islower() != b.islower() for a, b in pairwise(text)) >= 0.38 * len(text)


def steps(text: str) -> float:
    """The share of neighbours that are equal or follow each other, as in ``abcd`` and ``4321``.

    About 0.05 for random letters and digits, 0.18 for random hexadecimal digits.
    """
    codes = text.encode("utf-8", "replace")
    if len(codes) < 2:  # noqa: PLR2004 - no neighbours
        return 1.0
    return sum(abs(a - b) <= 1 for a, b in pairwise(codes)) / (len(codes) - 1)


def repeats(text: str) -> bool:
    """Whether the text is one short piece again and again. Only its beginning is looked at."""
    text = text[:_REPEATS_LENGTH]
    longest = len(text) // _LEAST_PERIODS
    return any(text[period:] == text[:-period] for period in range(1, longest + 1))
