"""Vercel, Netlify and Cloudflare: what is deployed with which variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.source import Source

_TABLE: Final = re.compile(rb"^[ \t]*\[+([^\]\n]{1,200})\]+", re.MULTILINE)
_VERCEL_REFERENCE: Final = re.compile(
    rb'"([A-Za-z_][A-Za-z0-9_]{2,127})"\s*:\s*"@([A-Za-z0-9_.\-]{1,128})"'
)
_BINDING: Final = re.compile(
    rb"""["']?(?:binding|secret_name|name)["']?\s*[:=]\s*["']([A-Za-z0-9_.\-]{2,128})["']"""
)


class _Deployment(Source):
    """Variables stand in tables (TOML) or objects that name the environment."""

    kind: ClassVar[PlaceKind] = PlaceKind.DEPLOYMENT_CONFIGURATION
    product: ClassVar[str]

    def context(self, document: Document, offset: int) -> Context:
        """The variable, and the environment whose table it is in."""
        table = document.last(_TABLE, offset)
        place = text(table[1]) if table else ""
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(place) or environment_of(document.path),
            detail=f"{self.product} {place}".strip(),
        )


class Vercel(_Deployment):
    """``vercel.json``, ``now.json``, and what ``vercel env pull`` and ``link`` leave behind."""

    product: ClassVar[str] = "Vercel"
    names: ClassVar[frozenset[str]] = frozenset({"vercel.json", "now.json", "project.json"})

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """``project.json`` only where Vercel puts it."""
        return name != "project.json" or "/.vercel/" in f"/{path}"

    def mentions(self, document: Document) -> Iterator[Named]:
        """``"NAME": "@secret"``."""
        for match in document.all(_VERCEL_REFERENCE):
            name = text(match[1])
            if provider_of(name) or provider_of(text(match[2])):
                yield Named(name, match.start(1), "Vercel secret", detail=self.product)


class Netlify(_Deployment):
    """``netlify.toml``."""

    product: ClassVar[str] = "Netlify"
    names: ClassVar[frozenset[str]] = frozenset({"netlify.toml"})


class Cloudflare(_Deployment):
    """``wrangler.toml`` and its JSON forms; ``.dev.vars`` is of the ``.env`` family."""

    product: ClassVar[str] = "Cloudflare"
    names: ClassVar[frozenset[str]] = frozenset(
        {"wrangler.toml", "wrangler.json", "wrangler.jsonc"}
    )

    def mentions(self, document: Document) -> Iterator[Named]:
        """Bindings of the secrets store."""
        seen: set[str] = set()
        for match in document.all(_BINDING):
            name = text(match[1])
            if name not in seen and provider_of(name):
                seen.add(name)
                yield Named(name, match.start(1), "Cloudflare binding", detail=self.product)
