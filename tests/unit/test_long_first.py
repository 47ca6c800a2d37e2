"""How tests are shared out to processes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support.long_first import long_first


@dataclass(frozen=True)
class Example:
    path: Path
    number: int


def test_each_part_begins_with_its_share_of_what_takes_long() -> None:
    tests = [
        Example(Path(kind, f"test_{file}.py"), number)
        for file in range(40)
        for kind in ("quick", "long")
        for number in range(3 if kind == "long" else 10)
    ]
    ordered = long_first(tests, processes=3, takes_long=lambda path: path.parts[0] == "long")
    assert Counter(ordered) == Counter(tests)
    size = len(ordered) // 3
    for at in range(3):
        part = ordered[at * size : (at + 1) * size]
        kinds = [test.path.parts[0] for test in part]
        # A part may begin with the end of the file that the one before it ends with, or the like.
        assert 39 - 10 <= kinds[:50].count("long") <= 42
        assert kinds[60:-10].count("long") == 0
    files = [test.path for test in ordered]
    changes = sum(one != other for one, other in pairwise(files))
    assert changes == 79, "files stay whole"
