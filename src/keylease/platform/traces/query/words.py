"""Words as the store's text index has them (``splitByNonAlpha`` over ``lower``).

ASCII letters and digits and everything beyond ASCII belong to words; the case of ASCII letters
alone is folded, as the engine's ``lower`` does.
"""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[0-9a-z\u0080-\U0010ffff]+")
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def split_words(text: str) -> tuple[str, ...]:
    """The different words of a text, in their order."""
    return tuple(dict.fromkeys(_WORD.findall(text.translate(_LOWER))))
