"""Dockerfiles: what is baked into an image, and what is mounted when it is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.source import Source

_INSTRUCTION: Final = re.compile(
    rb"^[ \t]*(ARG|ENV|RUN|LABEL|COPY|ADD|CMD|ENTRYPOINT)\b", re.IGNORECASE | re.MULTILINE
)
_ARGUMENT: Final = re.compile(
    rb"^[ \t]*(?:ARG|ENV)[ \t]+([A-Za-z_][A-Za-z0-9_]*)[ \t]*(?:=[ \t]*(?:\"\"|'')?|=?\$\{?\w+\}?)?"
    rb"[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_MOUNT: Final = re.compile(rb"--mount=type=secret,[^\s]*?\bid=([A-Za-z0-9_.\-]+)")


class Dockerfiles(Source):
    """``Dockerfile``, ``api.Dockerfile``, ``Containerfile`` ..."""

    kind: ClassVar[PlaceKind] = PlaceKind.CONTAINER_CONFIGURATION
    names: ClassVar[frozenset[str]] = frozenset({"dockerfile", "containerfile"})
    endings: ClassVar[tuple[str, ...]] = (".dockerfile", ".containerfile")
    beginnings: ClassVar[tuple[str, ...]] = ("dockerfile.", "containerfile.")

    def context(self, document: Document, offset: int) -> Context:
        """The instruction that holds the value: it is in a layer of every image built from it."""
        last = document.last(_INSTRUCTION, offset)
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(document.path),
            detail=f"{text(last[1]).upper()} instruction" if last else "",
        )

    def mentions(self, document: Document) -> Iterator[Named]:
        """Build arguments without a value, and secrets that are mounted."""
        for pattern, reason in ((_ARGUMENT, "build argument"), (_MOUNT, "build secret")):
            for match in pattern.finditer(document.data):
                name = text(match[1])
                if provider_of(name):
                    yield Named(name, match.start(1), reason)
