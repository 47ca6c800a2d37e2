"""The ``.env`` family: variables for one environment, which the file's name tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.source import Source

_EMPTY: Final = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{1,127})[ \t]*=[ \t]*"
    rb"(?P<value>\"\"|''|(?:op|vault|bw|aws-sm|gcp-sm|keyring|sealed|env|ref)[:+]\S*|\$\{?\w+\}?)?"
    rb"[ \t]*(?:#[^\n]*)?\r?$",
    re.MULTILINE,
)


class DotEnv(Source):
    """``.env``, ``.env.production``, ``prod.env``, ``.envrc``, ``.dev.vars`` ..."""

    kind: ClassVar[PlaceKind] = PlaceKind.ENVIRONMENT_FILE
    names: ClassVar[frozenset[str]] = frozenset({".env", ".envrc", "env.sh", "env.list"})
    endings: ClassVar[tuple[str, ...]] = (".env",)
    beginnings: ClassVar[tuple[str, ...]] = (".env.", ".env-", ".env_", ".dev.vars", "env.")

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the name
        """Not the programs that read such files."""
        return not name.endswith((".py", ".js", ".ts", ".go", ".rs", ".d.ts", ".mjs", ".md"))

    def mentions(self, document: Document) -> Iterator[Named]:
        """Names with no value, or with a reference to where the value is."""
        environment = environment_of(document.path)
        for match in _EMPTY.finditer(document.data):
            name = text(match[1])
            if provider_of(name):
                value = match["value"] or b""
                reason = "reference" if value.strip(b"\"'") else "name without a value"
                yield Named(name, match.start(1), reason, environment)
