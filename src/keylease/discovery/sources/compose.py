"""Compose files: services, their variables, secrets from files and from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.yaml_source import YamlSource

_PASSED_ON: Final = re.compile(
    rb"^[ ]*-?[ ]*[\"']?([A-Za-z_][A-Za-z0-9_]{2,127})[\"']?[ ]*(?:[:=][ ]*[\"']?"
    rb"(?:\$\{?([A-Za-z_][A-Za-z0-9_]*)(?::?[-?][^}\n]*)?\}?)?[\"']?)?[ ]*\r?$",
    re.MULTILINE,
)


class Compose(YamlSource):
    """``compose.yml``, ``docker-compose.prod.yaml`` ..."""

    kind: ClassVar[PlaceKind] = PlaceKind.CONTAINER_CONFIGURATION

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the name
        """By the name, and ``services:``."""
        return name.startswith(("compose.", "docker-compose")) and b"services:" in data

    def context(self, document: Document, offset: int) -> Context:
        """The service that has the variable."""
        service, environment = self._service(document, offset)
        return Context(self.kind, document.name_before(offset), environment, service)

    def mentions(self, document: Document) -> Iterator[Named]:
        """Variables that are passed on from outside, and external secrets."""
        seen: set[tuple[str, str]] = set()
        for match in _PASSED_ON.finditer(document.data):
            name = text(match[1])
            service, environment = self._service(document, match.start())
            if provider_of(name) and (name, service) not in seen:
                seen.add((name, service))
                yield Named(name, match.start(1), "passed on by compose", environment, service)

    def _service(self, document: Document, offset: int) -> tuple[str, str]:
        path = self.outline(document).path(offset)
        environment = environment_of(document.name)
        if len(path) > 1 and path[0].name in {"services", "secrets"}:
            return f"{path[0].name.removesuffix('s')} {path[1].name}", environment
        return "", environment
