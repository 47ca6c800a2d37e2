"""Crontabs and systemd units: what runs by itself, as whom, and with what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import OwnerCandidate, PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.sources.source import Source

_CRON_FOLDERS: Final = re.compile(
    r"/(?:etc/cron(?:tab|\.[a-z]+/[^/]+)|(?:var/)?spool/cron/(?:crontabs/|tabs/)?[^/]+)\Z"
)
_SPOOL: Final = re.compile(r"/spool/cron/(?:crontabs/|tabs/)?([^/]+)\Z")
_USER: Final = re.compile(rb"^[ \t]*User[ \t]*=[ \t]*([A-Za-z0-9_.\-]+)", re.MULTILINE)
_CREDENTIAL: Final = re.compile(
    rb"^[ \t]*(?:LoadCredential(?:Encrypted)?|ImportCredential|SetCredentialEncrypted)[ \t]*="
    rb"[ \t]*([A-Za-z0-9_.\-]+)",
    re.MULTILINE,
)
_PASSED: Final = re.compile(rb"^[ \t]*PassEnvironment[ \t]*=([^\n]*)", re.MULTILINE)


class Crontabs(Source):
    """Crontabs of users and of the system, and files that are called crontab."""

    kind: ClassVar[PlaceKind] = PlaceKind.SCHEDULE
    names: ClassVar[frozenset[str]] = frozenset({"crontab", "crontab.txt"})
    endings: ClassVar[tuple[str, ...]] = (".cron", ".crontab")

    def context(self, document: Document, offset: int) -> Context:
        """The variable, and the user whose crontab it is."""
        user = _SPOOL.search(document.path)
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(document.path),
            owners=(OwnerCandidate(user[1], "user of the crontab"),) if user else (),
        )


def is_crontab(path: str) -> bool:
    """Whether a path is where crontabs lie, whatever the file is called."""
    return _CRON_FOLDERS.search(path) is not None


class SystemdUnits(Source):
    """Units, their drop-ins, and ``environment.d``."""

    kind: ClassVar[PlaceKind] = PlaceKind.SERVICE_UNIT
    endings: ClassVar[tuple[str, ...]] = (".service", ".timer", ".socket", ".conf")

    def claims(self, path: str, name: str, data: bytes) -> bool:
        """``*.conf`` only where systemd reads it."""
        if name.endswith(".conf"):
            return ".d/" in path and ("systemd" in path or "environment.d" in path)
        return b"[Unit]" in data or b"[Service]" in data

    def context(self, document: Document, offset: int) -> Context:
        """The variable, and the user as whom the unit runs."""
        user = _USER.search(document.data)
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(document.path),
            detail=document.name,
            owners=(OwnerCandidate(text(user[1]), "user of the unit"),) if user else (),
        )

    def mentions(self, document: Document) -> Iterator[Named]:
        """Credentials that systemd hands over, and variables that are passed on."""
        for match in document.all(_CREDENTIAL):
            name = text(match[1])
            if provider_of(name):
                yield Named(name, match.start(1), "systemd credential", detail=document.name)
        for match in document.all(_PASSED):
            for name in text(match[1]).split():
                if provider_of(name):
                    yield Named(name, match.start(1), "passed on by systemd", detail=document.name)
