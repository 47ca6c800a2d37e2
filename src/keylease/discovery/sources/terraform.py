"""Terraform and OpenTofu: code, variables, state and plans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.source import Source

_BLOCK: Final = re.compile(
    rb"""^(resource|data|variable|provider|module|output|locals|terraform)\b[ \t]*
         (?:"([^"\n]{1,128})")?[ \t]*(?:"([^"\n]{1,128})")?[^\n{]*\{""",
    re.VERBOSE | re.MULTILINE,
)
_TYPE: Final = re.compile(rb'"type"\s*:\s*"([A-Za-z0-9_.\-]{1,128})"')
_NAME: Final = re.compile(rb'"name"\s*:\s*"([A-Za-z0-9_.\-\[\]]{1,128})"')
_RESOURCES: Final = re.compile(rb'"resources"\s*:\s*\[')
_DEFAULT: Final = re.compile(rb'^\s*default\s*=\s*"[^"]', re.MULTILINE)
_OUTPUT: Final = re.compile(rb'"outputs"\s*:\s*\{')


class TerraformCode(Source):
    """``*.tf``, ``*.tfvars``, ``*.hcl``."""

    kind: ClassVar[PlaceKind] = PlaceKind.TERRAFORM_CODE
    endings: ClassVar[tuple[str, ...]] = (".tf", ".tfvars", ".tofu", ".tf.json", ".tfvars.json")

    def context(self, document: Document, offset: int) -> Context:
        """The block around the value; a default of a variable has the variable's name."""
        block = document.last(_BLOCK, offset)
        name, detail = document.name_before(offset), ""
        if block is not None and b"\n}" not in document.data[block.end() : offset]:
            kind, first, second = (text(part or b"") for part in block.groups())
            detail = " ".join(filter(None, (kind, ".".join(filter(None, (first, second))))))
            if kind == "variable" and name == "default":
                name = first
        return Context(self.kind, name, environment_of(document.path), detail)

    def mentions(self, document: Document) -> Iterator[Named]:
        """Variables that somebody else gives a value."""
        for block in _BLOCK.finditer(document.data):
            name = text(block[2] or b"")
            if block[1] == b"variable" and provider_of(name):
                end = document.data.find(b"\n}", block.end())
                body = document.data[block.end() : end if end >= 0 else block.end() + 4096]
                if not _DEFAULT.search(body):
                    yield Named(
                        name, block.start(), "Terraform variable", environment_of(document.path)
                    )


class TerraformState(Source):
    """``*.tfstate`` and its backups, where every value stands in the open."""

    kind: ClassVar[PlaceKind] = PlaceKind.TERRAFORM_STATE
    endings: ClassVar[tuple[str, ...]] = (".tfstate", ".tfstate.backup", ".tfplan.json")

    def context(self, document: Document, offset: int) -> Context:
        """The resource, and the attribute of it."""
        parts = (document.last(pattern, offset) for pattern in (_TYPE, _NAME))
        resource = ".".join(text(part[1]) for part in parts if part)
        outputs = document.last(_OUTPUT, offset)
        resources = document.last(_RESOURCES, offset)
        in_outputs = outputs is not None and resources is None
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(document.path),
            detail="output" if in_outputs else resource,
        )
