"""GitHub Actions: workflows and composite actions. Secrets by name, environments, OIDC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of
from keylease.discovery.outline import Key
from keylease.discovery.sources.yaml_source import YamlSource

_SECRET: Final = re.compile(
    rb"""\bsecrets(?:\.([A-Za-z_][A-Za-z0-9_]{0,127})|\[\s*['"]([^'"\]\n]{1,128})['"]\s*\])"""
)
_OIDC: Final = re.compile(rb"^[ ]*id-token:[ ]*['\"]?write\b", re.MULTILINE)
_BUILT_IN: Final = frozenset({"GITHUB_TOKEN", "github_token"})
_ENVIRONMENT: Final = 2
"""``environment: name``, or ``environment:`` with ``name:`` below it."""


class GitHubActions(YamlSource):
    """``.github/workflows/*.yml`` and ``action.yml``."""

    kind: ClassVar[PlaceKind] = PlaceKind.CI_CONFIGURATION

    def claims(self, path: str, name: str, data: bytes) -> bool:
        """By the folder, or by the fixed name of an action with its ``runs``."""
        if "/.github/" in f"/{path}":
            return True
        return name in {"action.yml", "action.yaml"} and b"runs:" in data

    def context(self, document: Document, offset: int) -> Context:
        """The variable, the job and its environment."""
        job, environment = self._job(document, offset)
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment,
            detail=f"job {job}" if job else "",
        )

    def mentions(self, document: Document) -> Iterator[Named]:
        """``secrets.NAME``, once for each job."""
        seen: set[tuple[str, str]] = set()
        for match in _SECRET.finditer(document.data):
            name = text(match[1] or match[2])
            if name in _BUILT_IN:
                continue
            job, environment = self._job(document, match.start())
            if (name, job) not in seen:
                seen.add((name, job))
                yield Named(
                    name,
                    match.start(),
                    "GitHub Actions secret",
                    environment=environment,
                    detail=f"job {job}" if job else "",
                )

    def practices(self, document: Document) -> Iterator[Named]:
        """Jobs that may ask GitHub for an identity token."""
        for match in _OIDC.finditer(document.data):
            job, environment = self._job(document, match.end())
            yield Named(
                "GitHub Actions OIDC",
                match.start(),
                "id-token: write",
                environment=environment,
                detail=f"job {job}" if job else "",
            )

    def _job(self, document: Document, offset: int) -> tuple[str, str]:
        """The job in which ``offset`` lies, and its environment."""
        outline = self.outline(document)
        path = outline.path(offset)
        if len(path) < _ENVIRONMENT or path[0].name != "jobs":
            return "", environment_of(document.name)
        job = path[1]
        named = ""
        inside = False
        for key in outline.keys:
            if key.start <= job.start:
                continue
            if key.indent <= job.indent:
                break
            inside = _environment(key, inside=inside)
            if inside and key.name in {"environment", "name"} and key.value:
                named = key.value
                break
        return job.name, named or environment_of(job.name)


def _environment(key: Key, *, inside: bool) -> bool:
    return key.name == "environment" or (inside and key.name == "name")
