"""Jupyter notebooks: which cell, and whether its source or its output."""

from __future__ import annotations

import re
from typing import ClassVar, Final

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document
from keylease.discovery.names import environment_of
from keylease.discovery.sources.source import Source

_CELL: Final = re.compile(rb"""(?<!\\)"cell_type"\s*:\s*\"""")
_PART: Final = re.compile(rb"""(?<!\\)"(outputs|source|attachments)"\s*:\s*["\[{]""")


class Notebooks(Source):
    """``*.ipynb``. Told from its marks alone, so that half a notebook is understood too."""

    kind: ClassVar[PlaceKind] = PlaceKind.NOTEBOOK_SOURCE
    endings: ClassVar[tuple[str, ...]] = (".ipynb",)

    def context(self, document: Document, offset: int) -> Context:
        """The cell, counted from 1, and the part of it."""
        cell = document.before(_CELL, offset)
        part = document.last(_PART, offset)
        output = part is not None and part[1] == b"outputs"
        return Context(
            kind=PlaceKind.NOTEBOOK_OUTPUT if output else PlaceKind.NOTEBOOK_SOURCE,
            name=document.name_before(offset),
            environment=environment_of(document.path),
            detail=f"cell {cell}" if cell else "",
        )

    def damage(self, document: Document) -> str:
        """Damaged notebooks are read as text, and said to be."""
        if document.whole and not _is_json(document.data):
            return "It is no valid notebook; it was read as text."
        return ""


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
