"""GitLab CI: variables by name, environments, identity tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.yaml_source import YamlSource

_VARIABLE: Final = re.compile(rb"\$\{?([A-Za-z_][A-Za-z0-9_]{2,127})\}?")
_OIDC: Final = re.compile(rb"^[ ]*id_tokens:", re.MULTILINE)


class GitLabCi(YamlSource):
    """``.gitlab-ci.yml`` and what it includes from ``.gitlab``."""

    kind: ClassVar[PlaceKind] = PlaceKind.CI_CONFIGURATION

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """By the fixed names and folders."""
        return name.endswith((".gitlab-ci.yml", ".gitlab-ci.yaml")) or "/.gitlab/ci/" in f"/{path}"

    def context(self, document: Document, offset: int) -> Context:
        """The variable, and the job that has it."""
        job, environment = self._job(document, offset)
        return Context(self.kind, document.name_before(offset), environment, job)

    def mentions(self, document: Document) -> Iterator[Named]:
        """Variables that are used and not set here, when their names are those of credentials."""
        seen = {key.name for key in self.outline(document).keys if key.value}
        for match in _VARIABLE.finditer(document.data):
            name = text(match[1])
            if name not in seen and provider_of(name):
                seen.add(name)
                job, environment = self._job(document, match.start())
                yield Named(name, match.start(), "GitLab CI variable", environment, job)

    def practices(self, document: Document) -> Iterator[Named]:
        """Jobs that ask GitLab for an identity token."""
        for match in _OIDC.finditer(document.data):
            job, environment = self._job(document, match.end())
            yield Named("GitLab CI OIDC", match.start(), "id_tokens", environment, job)

    def _job(self, document: Document, offset: int) -> tuple[str, str]:
        outline = self.outline(document)
        path = outline.path(offset)
        if not path:
            return "", ""
        job = path[0].name
        environment = outline.value(offset, job, "environment") or outline.value(
            offset, job, "environment", "name"
        )
        detail = "" if job in {"variables", "default"} else f"job {job}"
        return detail, environment or environment_of(job)
