"""Azure Pipelines: secret variables by name, variable groups, workload identity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.yaml_source import YamlSource

_VARIABLE: Final = re.compile(rb"\$\(([A-Za-z_][A-Za-z0-9_.\-]{2,127})\)")
_FEDERATED: Final = re.compile(rb"\b(?:addSpnToEnvironment[ ]*:[ ]*true|idToken)\b")


class AzurePipelines(YamlSource):
    """``azure-pipelines*.yml``, also below ``.azure-pipelines``."""

    kind: ClassVar[PlaceKind] = PlaceKind.CI_CONFIGURATION

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """By the usual names and folders."""
        folders = ("/.azure-pipelines/", "/.azuredevops/", "/.pipelines/")
        return name.startswith(("azure-pipelines", ".azure-pipelines")) or any(
            folder in f"/{path}" for folder in folders
        )

    def mentions(self, document: Document) -> Iterator[Named]:
        """``$(NAME)`` where the name is that of a credential."""
        seen: set[str] = set()
        for match in _VARIABLE.finditer(document.data):
            name = text(match[1])
            if name not in seen and provider_of(name):
                seen.add(name)
                path = self.outline(document).path(match.start())
                around = " ".join(key.value for key in path)
                yield Named(name, match.start(), "Azure Pipelines variable", environment_of(around))

    def practices(self, document: Document) -> Iterator[Named]:
        """Tasks that hand the service connection's identity token to a step."""
        match = _FEDERATED.search(document.data)
        if match:
            yield Named("Azure workload identity federation", match.start(), text(match[0]))
