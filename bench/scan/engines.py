"""Which matching engine: the real triggers, over real files, in every library that could do it.

    python bench/scan/engines.py DIRECTORY

pyperscan and google-re2 are measured where this environment happens to have them.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from keylease.detectors.scanning import matcher as matching
from keylease.detectors.scanning.matcher import GATES, RULES, LiteralMatcher, Matcher

LITERAL_SHARE = 8
"""The literal matcher is measured on every eighth file, because it is slow."""


def texts(directory: Path) -> list[bytes]:
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            if b"\0" not in data[:8000]:
                found.append(data)
    return found


def timed(search: Callable[[bytes], object], files: list[bytes]) -> str:
    started = time.perf_counter()
    for data in files:
        search(data)
    return f"{sum(map(len, files)) / (time.perf_counter() - started) / 1e6:,.0f} MB/s"


def with_matcher(matcher: Matcher) -> Callable[[bytes], object]:
    return matcher.candidates


def with_pyperscan(library: ModuleType) -> Callable[[bytes], object]:
    found: list[tuple[int, int, int]] = []
    proceed = library.Scan.Continue

    def take(context: object, tag: int, start: int, end: int) -> object:
        del context
        found.append((tag, start, end))
        return proceed

    patterns = []
    for number, rule in enumerate(RULES):
        flags = [] if rule.trigger_reach else [library.Flag.SOM_LEFTMOST]
        expression = matching._trigger(rule).encode()  # noqa: SLF001 - the very same triggers
        patterns.append(library.Pattern(expression, *flags, tag=number))
    for number, expression in enumerate(GATES.values(), start=len(RULES)):
        patterns.append(library.Pattern(expression.encode(), library.Flag.SINGLEMATCH, tag=number))
    scanner = library.BlockDatabase(*patterns).build(None, take)

    def search(data: bytes) -> int:
        found.clear()
        scanner.scan(data)
        return len(found)

    return search


def with_re2(library: ModuleType) -> Callable[[bytes], object]:
    """It tells which expressions match, and not where: every hit would be searched again."""
    together = library.Set.SearchSet()
    for rule in RULES:
        together.Add(matching._trigger(rule).encode())  # noqa: SLF001 - the very same triggers
    for expression in GATES.values():
        together.Add(expression.encode())
    together.Compile()
    return together.Match


def main() -> int:
    files = texts(Path(sys.argv[1]))
    print(f"{len(files)} files, {sum(map(len, files)) / 1e6:,.0f} MB, {len(RULES)} triggers")
    print(f"  {'hyperscan':12}", timed(with_matcher(matching.matcher()), files))
    for name, build in (("pyperscan", with_pyperscan), ("re2", with_re2)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            print(f"  {name:12} not measured")
            continue
        print(f"  {name:12}", timed(build(library), files))
    print(f"  {'literals':12}", timed(with_matcher(LiteralMatcher()), files[::LITERAL_SHARE]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
