"""What the sources of YAML files share."""

from __future__ import annotations

import functools

from keylease.discovery.document import Document
from keylease.discovery.outline import Outline
from keylease.discovery.sources.source import Source


class YamlSource(Source):
    """A family of YAML files. The outline of the last document is kept."""

    endings = (".yml", ".yaml")

    @staticmethod
    def outline(document: Document) -> Outline:
        """The keys of the document."""
        return _outline(document.data)


@functools.lru_cache(maxsize=2)
def _outline(data: bytes) -> Outline:
    return Outline(data)
