"""Editors, coding assistants, and the MCP servers that they start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import provider_of
from keylease.discovery.sources.source import Source

_FOLDERS: Final = (
    "/.aider",
    "/.claude/",
    "/.codeium/",
    "/.codex/",
    "/.continue/",
    "/.cursor/",
    "/.gemini/",
    "/.idea/",
    "/.roo/",
    "/.vscode/",
    "/.windsurf/",
    "/.zed/",
    "/code - insiders/user/",
    "/code/user/",
    "/cursor/user/",
    "/claude/",
    "/github-copilot/",
    "/jetbrains/",
    "/opencode/",
    "/windsurf/user/",
    "/zed/",
)
_SERVER: Final = re.compile(
    rb"""["']?([A-Za-z0-9_.@/\-]{1,64})["']?\s*[:=]\s*\{\s*["']?(?:command|url|type|args|env)\b"""
)
_REFERENCE: Final = re.compile(
    rb"""\$\{(?:env:|input:)?([A-Za-z_][A-Za-z0-9_\-]{2,127})(?::-[^}]*)?\}"""
)


class Editors(Source):
    """Configuration of editors and assistants, by the folder or the name."""

    kind: ClassVar[PlaceKind] = PlaceKind.EDITOR_CONFIGURATION
    names: ClassVar[frozenset[str]] = frozenset(
        {
            ".aider.conf.yml",
            ".claude.json",
            ".mcp.json",
            "claude_desktop_config.json",
            "cline_mcp_settings.json",
            "mcp.json",
            "mcp_config.json",
            "mcp_settings.json",
            "state.vscdb",
        }
    )
    endings: ClassVar[tuple[str, ...]] = (".json", ".jsonc", ".toml", ".yml", ".yaml", ".xml")

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """By the name, or by the folder of an editor."""
        rooted = f"/{path}"
        return name in self.names or any(folder in rooted for folder in _FOLDERS)

    def context(self, document: Document, offset: int) -> Context:
        """The variable, and the MCP server that gets it."""
        return Context(
            kind=self.kind, name=document.name_before(offset), detail=_server(document, offset)
        )

    def mentions(self, document: Document) -> Iterator[Named]:
        """``${env:NAME}`` and ``${input:name}``."""
        seen: set[str] = set()
        for match in document.all(_REFERENCE):
            name = text(match[1])
            if name not in seen and provider_of(name):
                seen.add(name)
                yield Named(
                    name,
                    match.start(1),
                    "editor variable",
                    detail=_server(document, match.start()),
                )


def _server(document: Document, offset: int) -> str:
    server = document.last(_SERVER, offset)
    return f"MCP server {text(server[1])}" if server else ""
