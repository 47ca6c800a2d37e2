"""Turns what a connector lists into a scan report: names, dates, previews, fingerprints.

Protects: a value is opened once, for its fingerprint and for whose it is, and wiped; nothing but
    fingerprints, a masked form and the system's own texts, masked once more, is in the report.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import msgspec

import keylease
from keylease import detectors
from keylease.contracts.findings import (
    Confidence,
    Finding,
    Location,
    Mention,
    OwnerCandidate,
    ReadProblem,
    ScanCounts,
    ScanReport,
)
from keylease.detectors.naming import provider_of
from keylease.errors import ConnectorAnswerInvalid, ConnectorError
from keylease.primitives.clock import Clock
from keylease.primitives.fingerprints import FingerprintKeys
from keylease.strongroom.connectors.interfaces import Connector, Listed, ListedValue

MAXIMUM_LISTED = 100_000
"""Entries of one report; more than any account has, and as many as fit into memory."""
_SHOWN = 4
"""Last characters of a value that its masked form keeps, of values long enough."""
_LONG_ENOUGH = 20


async def report_of(
    connector: Connector,
    account: str,
    found: AsyncIterator[Listed | ListedValue],
    *,
    keys: FingerprintKeys | None,
    clock: Clock,
) -> ScanReport:
    """Read the list to its end. What fails in the middle leaves a report that is not complete."""
    started = clock.now()
    mentions: list[Mention] = []
    findings: dict[str, Finding] = {}
    problems: list[ReadProblem] = []
    try:
        listed = 0
        async for one in found:
            listed += 1
            if listed > MAXIMUM_LISTED:
                raise ConnectorAnswerInvalid(
                    f"{connector.title} lists more than {MAXIMUM_LISTED:,} entries."
                )
            if isinstance(one, ListedValue):
                _add(findings, _finding(connector, one, keys))
            else:
                mentions.append(_mention(connector, one))
    except ConnectorError as error:
        problems.append(
            ReadProblem(code=error.code, path=f"{connector.system}:{account}", message=str(error))
        )
    return ScanReport(
        scanner=f"keylease {keylease.__version__} ({connector.system})",
        started_at=started,
        finished_at=clock.now(),
        host=connector.system,
        roots=(account,),
        complete=not problems,
        fingerprint_key=str(keys.current) if keys else "",
        counts=ScanCounts(),
        findings=tuple(findings.values()),
        mentions=tuple(mentions),
        problems=tuple(problems),
    )


def _mention(connector: Connector, listed: Listed) -> Mention:
    return Mention(
        name=_masked(listed.name),
        provider=listed.provider or provider_of(listed.name),
        reason=f"{connector.title} keeps it",
        location=_location(connector, listed),
    )


def _finding(connector: Connector, one: ListedValue, keys: FingerprintKeys | None) -> Finding:
    value = one.secret.reveal(why="make the fingerprint of a secret that was listed")
    one.secret.wipe()
    location = _location(connector, one.listed)
    fingerprints = keys.of(value) if keys else ()
    kinds = detectors.find(value.decode("utf-8", "replace"))
    named = one.listed.provider or provider_of(one.listed.name)
    return Finding(
        id=str(fingerprints[0]) if fingerprints else location.id,
        provider=kinds[0].kind if kinds else named,
        kind=kinds[0].kind if kinds else "",
        confidence=Confidence.HIGH if kinds else Confidence.MEDIUM,
        masked=masked_value(value),
        fingerprints=fingerprints,
        locations=(location,),
    )


def _add(findings: dict[str, Finding], found: Finding) -> None:
    before = findings.get(found.id)
    if before is not None:
        found = msgspec.structs.replace(before, locations=(*before.locations, *found.locations))
    findings[found.id] = found


def _location(connector: Connector, listed: Listed) -> Location:
    path = f"{connector.system}:{listed.container}"
    identity = f"{path}\x00{listed.environment}\x00{listed.name}"
    owners = (OwnerCandidate(_masked(listed.owner), f"said by {connector.title}"),)
    return Location(
        id=hashlib.sha256(identity.encode()).hexdigest()[:32],
        kind=listed.kind,
        path=_masked(path),
        name=_masked(listed.name),
        environment=_masked(listed.environment),
        created_at=listed.created_at,
        changed_at=listed.changed_at,
        preview=_masked(listed.preview),
        owner_candidates=owners if listed.owner else (),
    )


def _masked(text: str) -> str:
    """A text of the outside system: printable, and without what looks like a key."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return detectors.mask(plain)[0]


def masked_value(value: bytes) -> str:
    """A value's masked form: its last characters when it is long, else nothing of it."""
    text = value.decode("ascii", "replace")
    return f"…{text[-_SHOWN:]}" if len(text) >= _LONG_ENOUGH and text.isprintable() else "…"
