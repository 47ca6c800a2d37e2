"""Scan reports, and what the inventory asks of other domains, for its tests."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keylease.contracts.findings import (
    Confidence,
    Finding,
    Fingerprint,
    Location,
    Mention,
    PlaceKind,
    ScanCounts,
    ScanReport,
)
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.callers import Caller
from keylease.platform.inventory.interfaces import CredentialUse
from keylease.platform.inventory.states import CredentialFacts

ORGANIZATION = "018f0000-0000-7000-8000-0000000000aa"
ADA = Caller(
    principal=Principal(kind=PrincipalKind.USER, id="018f0000-0000-7000-8000-000000000001"),
    organization_id=ORGANIZATION,
)
STRANGER = Caller(
    principal=Principal(kind=PrincipalKind.USER, id="018f0000-0000-7000-8000-000000000002"),
    organization_id="018f0000-0000-7000-8000-0000000000bb",
)


def fingerprint(number: int, *, version: int = 1) -> Fingerprint:
    return Fingerprint(key_id="acme", version=version, value=f"{number:064x}")


def place(path: str, *, kind: PlaceKind = PlaceKind.FILE, **more: object) -> Location:
    return Location(id=f"place:{path}", kind=kind, path=path, line=3, **more)  # type: ignore[arg-type]  # a test's own members


def finding(
    *fingerprints: Fingerprint, at: Sequence[Location], provider: str = "openai"
) -> Finding:
    return Finding(
        id=str(fingerprints[0]) if fingerprints else at[0].id,
        provider=provider,
        kind="project key",
        confidence=Confidence.HIGH,
        masked="sk-…a1b2",
        fingerprints=fingerprints,
        locations=tuple(at),
    )


def mention(name: str, at: Location, *, reason: str = "", refers_to: str = "") -> Mention:
    return Mention(name=name, provider="", reason=reason, location=at, refers_to=refers_to)


def report(
    *findings: Finding,
    started_at: int,
    host: str = "laptop",
    root: str = "/src/app",
    complete: bool = True,
    mentions: Sequence[Mention] = (),
) -> ScanReport:
    return ScanReport(
        scanner="keylease test",
        started_at=started_at,
        finished_at=started_at + 1,
        host=host,
        roots=(root,),
        complete=complete,
        counts=ScanCounts(files=1),
        findings=findings,
        mentions=tuple(mentions),
        problems=(),
    )


class Declared:
    """Credentials and uses as a test wants them."""

    def __init__(self) -> None:
        self.credentials: dict[str, CredentialFacts] = {}
        self.used: list[CredentialUse] = []

    async def credential_facts(self, caller: Caller) -> dict[str, CredentialFacts]:
        return self.credentials if caller.organization_id == ORGANIZATION else {}

    async def uses_of(
        self, caller: Caller, credential_ids: Collection[str]
    ) -> tuple[CredentialUse, ...]:
        assert caller.organization_id == ORGANIZATION
        return tuple(use for use in self.used if use.credential_id in credential_ids)
