"""Regular expressions of filters: RE2's syntax, which searches in linear time.

Protects: nothing of a caller is given to Python's ``re``, whose time can be exponential. The store
    searches with RE2; a live tail with Hyperscan, which knows the same syntax but for one thing:
    ``$`` also matches before a last line break.
Limits: what both refuse and this module lets pass is refused when the search begins.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import Final

from keylease.errors import QueryInvalid
from keylease.platform.traces.expression_size import size_of

MAXIMUM_PATTERN: Final = 500
"""Characters."""
MAXIMUM_SIZE: Final = 1_000
"""With its repetitions written out, outside the store."""
_ADVICE: Final = "The syntax is RE2's: no look-around, no back-references; (?i) folds case."
_PIECE: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\(\?[^\s]|.", re.DOTALL)
_GROUP: Final = re.compile(r"\(\?(?::|P<\w+>|<\w+>|[imsU]*(?:-[imsU]+)?[:)])")


def check_pattern(pattern: str, *, position: int) -> str:
    """Return the pattern; raises ``QueryInvalid`` for what RE2 does not know."""
    if len(pattern) > MAXIMUM_PATTERN:
        raise QueryInvalid(
            f"The expression is longer than {MAXIMUM_PATTERN} characters.", position=position
        )
    for piece in _PIECE.finditer(pattern):
        text = piece.group()
        back_reference = text.startswith("\\") and text[1:].isdigit() and text != "\\0"
        foreign_group = text.startswith("(?") and not _GROUP.match(pattern, piece.start())
        if back_reference or foreign_group:
            raise QueryInvalid(
                "The expression uses what RE2 does not know.", position=position, advice=_ADVICE
            )
    return pattern


def searcher(pattern: str) -> Callable[[str], bool]:
    """A search in linear time, outside the store. Raises ``QueryInvalid``.

    The first time for a pattern it is compiled, which can take seconds.
    """
    found = _searcher(pattern)
    if isinstance(found, QueryInvalid):
        raise found
    return found


@functools.lru_cache(maxsize=256)
def _searcher(pattern: str) -> Callable[[str], bool] | QueryInvalid:
    """The search, or why there is none: that is remembered, too."""
    try:
        import hyperscan  # noqa: PLC0415 - 6 MB that only a live tail with `matches` needs
    except ImportError:
        return QueryInvalid(
            "`matches` is not available in a live tail on this machine.",
            advice="Use contains, or search the stored spans.",
        )
    if size_of(pattern) > MAXIMUM_SIZE:
        return QueryInvalid(
            "The expression repeats too much for a live tail.", advice="Search the stored spans."
        )
    database = hyperscan.Database()
    flags = (
        hyperscan.HS_FLAG_DOTALL
        | hyperscan.HS_FLAG_UTF8
        | hyperscan.HS_FLAG_ALLOWEMPTY
        | hyperscan.HS_FLAG_SINGLEMATCH
    )
    try:
        database.compile(expressions=[pattern.encode()], ids=[0], elements=1, flags=[flags])
    except hyperscan.error:
        return QueryInvalid("The expression is not one, or is too large.", advice=_ADVICE)
    scratch = hyperscan.Scratch(database)

    lock = threading.Lock()  # scratch space is for one search at a time

    def found(text: str) -> bool:
        hits: list[int] = []

        def hit(*_: object) -> None:
            hits.append(1)

        with lock:
            database.scan(text.encode(), match_event_handler=hit, scratch=scratch)
        return bool(hits)

    return found
