"""Programs: which credentials they ask their environment for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.discovery.document import Document, Named, text
from keylease.discovery.names import provider_of
from keylease.discovery.sources.source import Source

_QUICK: Final = (b"_KEY", b"_TOKEN", b"_SECRET")
_READ: Final = re.compile(
    rb"""(?:environ(?:\.get)?|getenv|env|ENV|Getenv|LookupEnv|EnvironmentVariable|import\.meta\.env)
         (?:\.|\s{0,2}[\[(]{1,2}\s{0,2}["'`]?|::var(?:_os)?\(")
         ([A-Z][A-Z0-9_]{3,80})\b
       | \$\{?([A-Z][A-Z0-9_]{3,80})\b""",
    re.VERBOSE,
)
_INSTALLED: Final = re.compile(r"/(?:site-packages|dist-packages|node_modules|vendor)/")


class Code(Source):
    """Source code in the usual languages. Installed packages say nothing about who uses a key."""

    past: ClassVar[bool] = False  # who used a key once is no consumer, and every version would tell
    endings: ClassVar[tuple[str, ...]] = (
        ".bash",
        ".cjs",
        ".cs",
        ".ex",
        ".go",
        ".java",
        ".jl",
        ".js",
        ".jsx",
        ".kt",
        ".mjs",
        ".php",
        ".ps1",
        ".py",
        ".r",
        ".rb",
        ".rs",
        ".scala",
        ".sh",
        ".swift",
        ".ts",
        ".tsx",
        ".vue",
        ".zsh",
    )

    def mentions(self, document: Document) -> Iterator[Named]:
        """Variables that a program reads, once for each file."""
        data = document.data
        if not any(word in data for word in _QUICK) or _INSTALLED.search(document.path):
            return
        seen: set[str] = set()
        for match in _READ.finditer(data):
            name = text(match[1] or match[2])
            if name not in seen and provider_of(name):
                seen.add(name)
                yield Named(name, match.start(), "read by a program")
