"""Helm: values files, and templates that refer to secrets."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document
from keylease.discovery.names import environment_of
from keylease.discovery.sources.yaml_source import YamlSource

_VALUES: Final = re.compile(r"(?:.*[._-])?values(?:[._-].*)?\.ya?ml|secrets(?:[._-].*)?\.ya?ml")


class HelmValues(YamlSource):
    """``values.yaml``, ``values-prod.yaml``, ``secrets.yaml`` of helm-secrets."""

    kind: ClassVar[PlaceKind] = PlaceKind.HELM_VALUES

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the name
        """By the name; a manifest is one of Kubernetes."""
        return _VALUES.fullmatch(name) is not None and b"apiVersion:" not in data

    def context(self, document: Document, offset: int) -> Context:
        """The way to the value, as ``--set`` would have it."""
        path = self.outline(document).path(offset)
        name = path[-1].name if path else document.name_before(offset)
        if name in {"value", "default"}:
            siblings = self.outline(document).siblings(path[-1])
            name = next((key.value for key in siblings if key.name == "name"), name)
        return Context(
            kind=self.kind,
            name=name,
            environment=environment_of(document.path),
            detail=".".join(key.name for key in path),
        )
