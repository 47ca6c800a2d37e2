"""Kubernetes manifests: secrets, config maps, workloads and what they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import OwnerCandidate, PlaceKind
from keylease.discovery.document import Context, Document, Named
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.outline import Key, Outline
from keylease.discovery.sources.yaml_source import YamlSource

OWNER_LABELS: Final = (
    "owner",
    "team",
    "app.kubernetes.io/managed-by-team",
    "backstage.io/owner",
    "contact",
)
"""Labels and annotations that people use to say whose something is."""
_REFERENCES: Final = {
    "secretKeyRef": "secretKeyRef",
    "remoteRef": "external secret",
    "secretRef": "secretRef",
}


class Kubernetes(YamlSource):
    """Any YAML or JSON with ``apiVersion`` and ``kind``."""

    kind: ClassVar[PlaceKind] = PlaceKind.KUBERNETES_MANIFEST

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by what it says
        """By what every object of the API has to say."""
        return b"apiVersion:" in data and b"kind:" in data

    def context(self, document: Document, offset: int) -> Context:
        """The object, and the member of it or the variable of a container."""
        outline = self.outline(document)
        path = outline.path(offset)
        name = document.name_before(offset)
        if path:
            name = _entry_name(outline, path) or name
        described, environment, owners = self._object(document, outline, offset)
        return Context(self.kind, name, environment, described, owners)

    def mentions(self, document: Document) -> Iterator[Named]:
        """Variables that come from a secret, and members of secrets that come from outside."""
        outline = self.outline(document)
        for key in outline.keys:
            reason = _REFERENCES.get(key.name)
            if reason is None:
                continue
            name = _entry_name(outline, outline.path(key.start)[:-1]) or _sibling(
                outline, key, "secretKey"
            )
            referred = _below(outline, key)
            wanted = [n for n in (name, referred.get("key", ""), referred.get("name", "")) if n]
            known = next((n for n in wanted if provider_of(n)), "")
            if known:
                described, environment, _ = self._object(document, outline, key.start)
                target = "/".join(filter(None, (referred.get("name"), referred.get("key"))))
                yield Named(
                    known,
                    key.start,
                    f"{reason} {target}".strip(),
                    environment,
                    described,
                    target if key.name != "remoteRef" else "",
                )

    @staticmethod
    def _object(
        document: Document, outline: Outline, offset: int
    ) -> tuple[str, str, tuple[OwnerCandidate, ...]]:
        values = {
            part: outline.value(offset, *part.split("."))
            for part in ("kind", "metadata.name", "metadata.namespace")
        }
        namespace, name = values["metadata.namespace"], values["metadata.name"]
        described = f"{values['kind']} {'/'.join(filter(None, (namespace, name)))}".strip()
        owners = tuple(
            OwnerCandidate(owner, f"{group[:-1]} {label}")
            for group in ("labels", "annotations")
            for label in OWNER_LABELS
            if (owner := outline.value(offset, "metadata", group, label))
        )
        return described, environment_of(namespace) or environment_of(document.path), owners


def _entry_name(outline: Outline, path: tuple[Key, ...]) -> str:
    """The variable of an ``env`` entry, or the member of ``data``."""
    if not path:
        return ""
    if path[-1].name in {"value", "valueFrom"}:
        return _sibling(outline, path[-1], "name")
    if len(path) > 1 and path[-2].name in {"data", "stringData", "binaryData"}:
        return path[-1].name
    return ""


def _sibling(outline: Outline, key: Key, name: str) -> str:
    return next((other.value for other in outline.siblings(key) if other.name == name), "")


def _below(outline: Outline, key: Key) -> dict[str, str]:
    found: dict[str, str] = {}
    for other in outline.keys:
        if other.start > key.start:
            if other.indent <= key.indent:
                break
            found[other.name] = other.value
    return found
