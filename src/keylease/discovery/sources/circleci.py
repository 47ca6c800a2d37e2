"""CircleCI: contexts and variables by name, OIDC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.yaml_source import YamlSource

_VARIABLE: Final = re.compile(rb"\$\{?([A-Za-z_][A-Za-z0-9_]{2,127})\}?")
_ENVIRONMENT_PARAMETER: Final = re.compile(
    rb"<<\s*(?:pipeline\.)?parameters\.([A-Za-z0-9_-]+)\s*>>"
)
_OIDC: Final = re.compile(rb"\bCIRCLE_OIDC_TOKEN(?:_V2)?\b")


class CircleCi(YamlSource):
    """``.circleci/config.yml`` and what it continues with."""

    kind: ClassVar[PlaceKind] = PlaceKind.CI_CONFIGURATION

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """By the folder."""
        return "/.circleci/" in f"/{path}"

    def mentions(self, document: Document) -> Iterator[Named]:
        """Variables of the project or of a context that steps use."""
        seen: set[str] = set()
        for pattern in (_VARIABLE, _ENVIRONMENT_PARAMETER):
            for match in pattern.finditer(document.data):
                name = text(match[1])
                if name not in seen and provider_of(name):
                    seen.add(name)
                    path = self.outline(document).path(match.start())
                    job = path[1].name if len(path) > 1 and path[0].name == "jobs" else ""
                    yield Named(
                        name,
                        match.start(),
                        "CircleCI variable",
                        environment_of(job),
                        f"job {job}" if job else "",
                    )

    def practices(self, document: Document) -> Iterator[Named]:
        """Steps that use CircleCI's identity token."""
        match = _OIDC.search(document.data)
        if match:
            yield Named("CircleCI OIDC", match.start(), text(match[0]))
